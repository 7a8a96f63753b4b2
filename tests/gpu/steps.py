"""Steps of a small model on any device, and what finds a host that waits for its device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_research.base import runtime as runtimes
from gpt_research.base import startup
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.step import TrainStep

MODEL = GPTConfig(n_layer=2, n_head=4, n_embd=128, block_size=128, vocab_size=500)


def has(device: str, precision: str) -> bool:
    return device == "cpu" or precision != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)


def step_on(device: str, precision: runtimes.Precision, micro_steps: int = 2, **settings: Any) -> TrainStep:
    """Return a step of a small model on random tokens; the same model and tokens on any device."""
    runtime = startup.start(device, precision)
    torch.manual_seed(0)
    tokens = micro_steps * 4 * MODEL.block_size
    config = TrainConfig(
        model=MODEL, micro_batch=4, tokens_per_step=tokens, learning_rate=1e-3, warmup_steps=1, **settings
    )
    return build_step(config, plan_execution(config, runtime), runtime, RandomBatches(MODEL, 4), TrainStep)


class Reads(TorchDispatchMode):
    """Fails where the host reads a number of a tensor: on a card it would wait there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket._qualified_op_name
        assert name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal"), f"the host reads: {name}"
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Fail if the host waits for the device inside the block."""
    if device != "cuda":
        with Reads():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
