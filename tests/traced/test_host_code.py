"""The code around the kernels, which runs here as it does beside a card."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from traced_steps import Recording, make_step

from gpt_research.base import startup
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import TrainConfig
from gpt_research.estimate.micro_batch import resolve_micro_batch
from gpt_research.estimate.probe import probe_micro_batches
from gpt_research.model_config import GPTConfig
from gpt_research.training.execution import Compilation
from gpt_research.training.loop import train


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


def test_the_probe_compiles_each_size_for_itself(recording: Recording) -> None:
    model = GPTConfig(n_layer=2, n_head=2, n_embd=128, block_size=128, vocab_size=1000)
    config = TrainConfig(model=model, tokens_per_step=64 * 128, precision="bf16", compile=True)
    sweep = probe_micro_batches(config, startup.start("cuda", "bf16"), [1, 8, 16, 32], 1.0)
    assert [measured.micro_batch for measured in sweep.measurements] == [8, 16, 32]
    # A block and the loss, forward and backward. If the second size were compiled for any size, the
    # third would compile nothing.
    assert len(recording.graphs) == 3 * 4
    peaks = [measured.peak_bytes for measured in sweep.measurements]
    assert peaks == sorted(peaks)
    plain = probe_micro_batches(dataclasses.replace(config, compile=False), startup.start("cuda"), [8, 16, 32], 1.0)
    assert all(
        ours.peak_bytes < its.peak_bytes for ours, its in zip(sweep.measurements, plain.measurements, strict=True)
    )


@pytest.mark.filterwarnings("ignore:A token takes longer here")  # this card records no CUDA graph
def test_a_run_trains_evaluates_samples_saves_and_goes_on(tiny_run: TrainConfig) -> None:
    run = dataclasses.replace(tiny_run, device="cuda", precision="bf16", micro_batch=None)  # type: ignore[arg-type]
    config = resolve_micro_batch(run, lambda note: None)
    assert train(config, until=6).step == 6
    assert train(dataclasses.replace(config, resume=config.out)).step == config.max_steps
    assert saved_steps(Path(config.out))[-1] == config.max_steps
    assert "--- step 12 ---" in Path(config.out, "samples.txt").read_text(encoding="utf-8")
