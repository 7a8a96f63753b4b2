"""The record of a step that went wrong: its windows of text, the norms of its layers, its seeds.

    <run>/black_box/step_00000123.json

`gpt-research replay` takes the step again from these facts (`training.replay`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gpt_research.base.disk import dispensable
from gpt_research.base.files import write_json
from gpt_research.checkpoint.weights import is_sharded
from gpt_research.training.step import TrainStep


def write_black_box(
    run: Path,
    step: int,
    facts: Mapping[str, str],
    train_step: TrainStep,
    lineage: Mapping[str, Any],
    windows: Sequence[Mapping[str, Any]],
) -> Path:
    """Write the black box of `step` (counted from 1) and return its path.

    All ranks must call this, because the norms of a sharded model need all of them; rank 0 writes.

    Args:
        facts: finding ("not_finite" or "spike"), loss and grad_norm, as text because JSON has no
            NaN.
        windows: what rank 0 read, as the objective describes it; other ranks pass none.
    """
    path = run / "black_box" / f"step_{step:08d}.json"
    # A skipped step left the weights as they were, so its gradient can be computed again. That
    # shows in which layer it went wrong.
    if facts["finding"] == "not_finite":
        train_step.accumulate(step - 1)
    layers = {name: _layer(parameter) for name, parameter in train_step.model.named_parameters()}
    train_step.optimizer.zero_grad(set_to_none=True)
    if train_step.runtime.is_main:
        box = {
            "step": step,
            **facts,
            "random_state": {"seed": train_step.seed, "streams": "a function of (seed, step, rank)"},
            "scaler": train_step.scaler.state_dict(),
            "lineage": lineage,
            "layers": layers,
            "windows": windows,
        }
        with dispensable(path):
            path.parent.mkdir(exist_ok=True)
            write_json(path, box)
    return path


def _layer(parameter: torch.nn.Parameter) -> dict[str, str]:
    """Return norm and largest entry of a weight and of its gradient, as text, because JSON has no
    NaN.
    """
    numbers = {"weight_norm": parameter.detach().norm(), "weight_max": parameter.detach().abs().max()}
    if parameter.grad is not None:
        numbers |= {"grad_norm": parameter.grad.norm(), "grad_max": parameter.grad.abs().max()}
    whole = {name: value.full_tensor() if is_sharded(value) else value for name, value in numbers.items()}
    return {name: f"{value.item():.6g}" for name, value in whole.items()}
