"""The code around the kernels, which runs here as it does beside a card."""

from __future__ import annotations

import pytest
import torch
from traced_steps import Recording, make_step

from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.training.execution import Compilation


def test_the_card_is_an_h100() -> None:
    properties = torch.cuda.get_device_properties(0)
    assert "H100" in properties.name
    assert (properties.major, properties.minor, properties.multi_processor_count) == (9, 0, 132)
    assert (properties.total_memory, properties.L2_cache_size) == (80 << 30, 50 << 20)
    assert (properties.shared_memory_per_block_optin, properties.regs_per_multiprocessor) == (227 << 10, 65536)
    assert (properties.max_threads_per_multi_processor, properties.warp_size) == (2048, 32)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # not every wait is found
@pytest.mark.parametrize("compiled", ["none", "whole", "blocks"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_nothing_waits_for_the_card_inside_a_step(compiled: Compilation, precision: str, recording: Recording) -> None:
    model = GPTConfig(n_layer=2, n_head=2, n_embd=128, block_size=128, vocab_size=1000)
    config = TrainConfig(model=model, micro_batch=4, tokens_per_step=512, precision=precision)  # type: ignore[arg-type]
    step = make_step(config, compiled)
    step.take_step(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.take_step(1)
        with pytest.raises(RuntimeError, match="synchroniz"):
            step.skipped.item()
    finally:
        torch.cuda.set_sync_debug_mode("default")
