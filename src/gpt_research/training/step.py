"""The step: batches become a gradient, and the gradient a change of the weights.

It is the same for every device, precision and number of processes, and a pure function of weights, optimizer state
and the step's number.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

import torch

from gpt_research.base import machine
from gpt_research.base.runtime import Runtime
from gpt_research.base.seeds import seed_for
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.training import parallel
from gpt_research.training.optimizers import make_optimizer
from gpt_research.training.schedules import learning_rate

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class Batches(Protocol):
    """Gives the tokens and targets of any micro-batch of this process, each (micro_batch, block_size) int64."""

    def batch(self, step: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]: ...


class Engine:
    """Model and optimizer of one process, and what turns batches into steps."""

    def __init__(self, config: TrainConfig, runtime: Runtime, batches: Batches) -> None:
        """Build the model from its seed and place it."""
        self.config, self.runtime, self.batches = config, runtime, batches
        if runtime.device.type == "cpu":
            machine.keep_freed_memory()
        self.micro_steps = config.accumulation_steps(runtime.world_size)
        self.model = GPT(config.model, config.seed)
        self.model.gradient_checkpointing = config.gradient_checkpointing
        self.model.loss_chunk = loss_chunk(config, runtime)
        self.parallel = parallel.choose(config.parallel, config.model, runtime)
        # `forward` evaluates; `compute` shares its gradients over processes as well.
        self.forward, self.compute = parallel.distribute(
            self.model, runtime, self.parallel, compiled=compiles(config, runtime)
        )
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.skipped = torch.zeros((), device=runtime.device)
        self.data_s = 0.0

    def take_step(
        self,
        step: int,
        stop: Callable[[], bool] = lambda: False,
        refuse: Callable[[float], bool] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Take one optimizer step; return its mean loss and gradient norm, or None where `stop` cut it short.

        A step whose gradient is not finite, or whose loss `refuse` refuses, leaves weights and optimizer as they were,
        on all processes: the gradient that each has is the mean over all.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        loss = self.accumulate(step, stop)
        if loss is None:
            return None
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip or math.inf)
        if self.parallel == "fsdp":
            norm = cast("DTensor", norm).full_tensor()
        leave_out = ~torch.isfinite(norm)
        if refuse is not None and refuse(loss.item()):
            leave_out = torch.ones_like(leave_out)
        if not self.scaler.is_enabled():
            # fused AdamW then changes nothing, without asking the host
            self.optimizer.found_inf = leave_out.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not (refuse is not None and leave_out.item()):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.skipped += leave_out
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def accumulate(self, step: int, stop: Callable[[], bool] = lambda: False) -> torch.Tensor | None:
        """Add up the gradient of a step, micro-batch by micro-batch; return the mean loss over all processes.

        The loss is normalised by the tokens of the whole step, so neither micro_batch nor the number of processes
        changes the gradient. Returns None, and drops what was added up, where `stop` says so.
        """
        config, runtime = self.config, self.runtime
        torch.manual_seed(seed_for(config.seed, "dropout", step, runtime.rank))
        self.compute.train()
        loss = torch.zeros((), device=runtime.device)
        for micro_step in range(self.micro_steps):
            if stop():
                self.optimizer.zero_grad(set_to_none=True)
                return None
            tokens, targets = self._fetch(step, micro_step)
            last = micro_step == self.micro_steps - 1
            with (
                contextlib.nullcontext() if last else parallel.gradients_stay_local(self.compute),
                runtime.autocast(),
            ):
                nats = self.compute(tokens, targets)
                # The mean is taken over processes, so each divides by its own share of the step's tokens.
                share = nats * (runtime.world_size / config.tokens_per_step)
                self.scaler.scale(share).backward()
            loss += nats.detach() / config.tokens_per_step
        return runtime.sum_over_ranks(loss)

    def _fetch(self, step: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a micro-batch on the device.

        On a GPU the host is ahead of the device, and copies from pinned memory do not wait for it: the batch is there
        before the device asks for it.
        """
        began = time.perf_counter()
        batch = self.batches.batch(step, micro_step)
        if self.runtime.device.type == "cuda":
            batch = batch[0].pin_memory(), batch[1].pin_memory()
        tokens, targets = (x.to(self.runtime.device, non_blocking=True) for x in batch)
        self.data_s += time.perf_counter() - began
        return tokens, targets


def compiles(config: TrainConfig, runtime: Runtime) -> bool:
    """Whether the model is compiled: by default on a GPU, where it pays within a minute.

    On a CPU a compiled step is about as fast as a plain one.
    """
    if config.compile is None:
        return runtime.device.type == "cuda" and runtime.can_compile
    return config.compile


LARGEST_LOGITS = {"cpu": 8 << 20, "cuda": 4 << 30}
"""Bytes of fp32 logits that are held at a time by default: on a CPU what its caches hold."""
LEAST_CHUNK = 512
"""Tokens of a chunk at least: fewer make products that are slow."""


def loss_chunk(config: TrainConfig, runtime: Runtime) -> int:
    """Return how many tokens' logits to hold at a time; 0 for all of a micro-batch."""
    # fp16 needs the scale of the loss before its gradient is rounded, and a chunk's gradient is taken at once
    if config.loss_chunk is not None or runtime.precision == "fp16":
        return config.loss_chunk or 0
    fits = LARGEST_LOGITS.get(runtime.device.type, 1 << 30) // (4 * config.model.padded_vocab_size)
    return 0 if config.micro_batch * config.model.block_size <= fits else max(LEAST_CHUNK, fits // 256 * 256)
