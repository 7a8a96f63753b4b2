"""torch.compile takes the step in one piece, whatever is configured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from traced_steps import Recording, make_step

from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig
from gpt_research.training.execution import Compilation

SMALL: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 128, "block_size": 128, "vocab_size": 1000}
CONFIGURATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "loss in chunks": ({}, {"loss_chunk": 128}),
    "gradient checkpointing": ({}, {"gradient_checkpointing": True}),
    "dropout": ({"dropout": 0.1}, {}),
    "dropout and checkpointing": ({"dropout": 0.1}, {"gradient_checkpointing": True, "loss_chunk": 128}),
    "fp16": ({}, {"precision": "fp16"}),
    "fp32": ({}, {"precision": "fp32"}),
    "sinusoidal positions": ({"positions": "sinusoidal"}, {}),
    "untied": ({"tie_weights": False}, {}),
    "no bias": ({"bias": False}, {}),
}


@pytest.mark.parametrize("compiled", ["whole", "blocks"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_graph_breaks_and_no_step_compiles_again(name: str, compiled: Compilation, recording: Recording) -> None:
    model, settings = CONFIGURATIONS[name]
    precision = settings.get("precision", "bf16")
    config = TrainConfig(
        model=GPTConfig(**(SMALL | model)), micro_batch=4, tokens_per_step=512, **(settings | {"precision": precision})
    )
    step = make_step(config, compiled)
    for number in range(3):
        step.take_step(number)
    assert not recording.breaks
    # A forward and a backward graph of the model, or of a block and of the loss. All blocks share
    # one; but the input of the first needs a gradient only where dropout or positions make it so.
    assert len(recording.graphs) == (2 if compiled == "whole" else 4)


@pytest.mark.parametrize("compiled", ["whole", "blocks"])
def test_a_break_would_be_seen(compiled: Compilation, recording: Recording) -> None:
    step = make_step(TrainConfig(model=GPTConfig(**SMALL), micro_batch=4, tokens_per_step=512), compiled)
    forward = step.model.blocks[0].mlp.forward

    def interrupted(x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return forward(x)

    step.model.blocks[0].mlp.forward = interrupted
    step.take_step(0)
    assert recording.breaks
