"""What is kept of a step gone wrong: what it read, how its layers stood, and how to run it again.

<run>/black_box/step_00000123.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt_research.checkpoint.weights import is_sharded

if TYPE_CHECKING:
    from gpt_research.training.loop import Trainer

EXCERPT_TOKENS = 64


def write_black_box(trainer: Trainer, step: int, finding: str, loss: float, grad_norm: float) -> Path:
    """Write the black box of `step` (counted from 1) and return its path.

    A skipped step left the weights as they were, so its gradient is taken again, to see in which layer it went
    wrong; all ranks take part in that, the main one writes.
    """
    path = trainer.run_folder / "black_box" / f"step_{step:08d}.json"
    if finding == "not_finite":
        trainer.engine.accumulate(step - 1)
    layers = {name: _layer(parameter) for name, parameter in trainer.model.named_parameters()}
    trainer.engine.optimizer.zero_grad(set_to_none=True)
    if trainer.runtime.is_main:
        box = {
            "step": step,
            "finding": finding,
            "loss": repr(loss),
            "grad_norm": repr(grad_norm),
            "random_state": {"seed": trainer.config.seed, "streams": "a function of (seed, step, rank)"},
            "scaler": trainer.engine.scaler.state_dict(),
            "lineage": trainer.lineage(),
            "layers": layers,
            "windows": _windows(trainer, step - 1),
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(box, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _layer(parameter: torch.nn.Parameter) -> dict[str, str]:
    """Norm and largest entry of a weight and, where it has one, of its gradient; as text, for JSON has no NaN."""
    found = {"weight_norm": parameter.detach().norm(), "weight_max": parameter.detach().abs().max()}
    if parameter.grad is not None:
        found |= {"grad_norm": parameter.grad.norm(), "grad_max": parameter.grad.abs().max()}
    whole = {name: value.full_tensor() if is_sharded(value) else value for name, value in found.items()}
    return {name: f"{value.item():.6g}" for name, value in whole.items()}


def _windows(trainer: Trainer, step: int) -> list[dict[str, Any]]:
    """Say for each window that this rank read where it stands and how it begins."""
    names = {id(a): (c, s) for c, f in trainer.dataset.train.items() for s, a in enumerate(f.arrays)}
    found = []
    for micro_step in range(trainer.engine.micro_steps):
        for array, start in trainer.loader.places(step, micro_step):
            corpus, shard = names[id(array)]
            tokens = np.asarray(array[start : start + EXCERPT_TOKENS])
            found.append(
                {
                    "corpus": corpus,
                    "shard": trainer.dataset.manifests[corpus].splits["train"][shard].path,
                    "first_token": start,
                    "largest_id": int(np.max(array[start : start + trainer.loader.block_size + 1])),
                    "begins": trainer.tokenizer.decode(tokens[tokens < trainer.tokenizer.vocab_size].tolist()),
                }
            )
    return found
