"""What a step of the preset moves through the memory of an H100, and what it keeps there.

No card is needed, so a change that costs traffic is seen on a CPU. If a figure rises, look at what
Inductor no longer fuses (TORCH_LOGS=output_code shows its kernels), and mend it. If it must rise,
or if it falls, write the new figure into the table, and say why in the commit.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from traced_steps import Recording, make_step

from gpt_research.base.settings import find_config, read_yaml
from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig
from gpt_research.training.execution import Compilation

MARGIN = 1.02


@dataclass(frozen=True)
class Traffic:
    """Of one pass, forward and backward."""

    kernels: int
    """Kernels that Inductor wrote, and calls of other libraries."""
    moved_gb: float
    """Read and written by the kernels that Inductor wrote."""
    peak_gb: float
    """The most memory that a step holds, with weights, gradients and AdamW's state."""


TABLE: dict[tuple[int, Compilation, int], Traffic] = {
    # micro_batch, compilation, loss_chunk
    (8, "whole", 0): Traffic(667, 9.12, 3.66),
    (8, "blocks", 0): Traffic(671, 8.23, 3.59),
    (64, "whole", 0): Traffic(667, 54.2, 16.2),
    (64, "blocks", 0): Traffic(672, 54.0, 15.6),
    (64, "whole", 8192): Traffic(686, 54.0, 14.7),
}


@pytest.mark.parametrize(("micro_batch", "compiled", "loss_chunk"), TABLE)
def test_a_step_of_the_preset_moves_no_more_than_it_did(
    micro_batch: int, compiled: Compilation, loss_chunk: int, recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = read_yaml(TrainConfig, find_config("gpt2-124m"))
    model = GPTConfig(**(vars(preset.model) | {"vocab_size": 50257}))
    tokens = micro_batch * model.block_size
    step = make_step(
        TrainConfig(
            model=model, micro_batch=micro_batch, tokens_per_step=tokens, precision="bf16", loss_chunk=loss_chunk
        ),
        compiled,
    )
    step.take_step(0)
    torch.cuda.reset_peak_memory_stats()
    step.take_step(1)
    graphs = recording.graphs
    if compiled == "blocks":
        # In the order of compiling: a block and the loss forward, the loss and the block backward.
        block_forward, *loss, block_backward = graphs
        graphs = [*loss, *[block_forward, block_backward] * model.n_layer]
    kernels = sum(graph.kernels + graph.calls for graph in graphs)
    moved_gb = sum(graph.moved for graph in graphs) / 1e9
    found = Traffic(kernels, moved_gb, torch.cuda.max_memory_allocated() / 1e9)
    with capsys.disabled():
        print(
            f"\n  micro_batch {micro_batch}, {compiled}, loss_chunk {loss_chunk}: {found.kernels} kernels move "
            f"{found.moved_gb:.2f} GB, at most {found.peak_gb:.2f} GB held"
        )
    recorded = TABLE[micro_batch, compiled, loss_chunk]
    for name, value in vars(found).items():
        bound = vars(recorded)[name]
        assert value <= MARGIN * bound, f"{name} rose from {bound} to {value:.2f}: see the head of {__name__}.py"
        assert value >= bound / MARGIN**2, f"{name} fell from {bound} to {value:.2f}: write that into TABLE"
