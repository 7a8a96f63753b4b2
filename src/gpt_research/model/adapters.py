"""LoRA: matrices that stay as they are, each with a trained change of low rank; and how a
fine-tuned model becomes a plain one again.

A layer computes W x + s B (A x) with A (rank, in) and B (out, rank). B begins at 0, so that the
model begins as it was. `language_model` adds s B A to W.
Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.base.errors import UserError

HEAD = "task_head"
"""The head of a fine-tuned model; a language model has none."""
DOWN, UP = "lora_down", "lora_up"
"""Names of A and B beside the weight of their layer."""


@dataclass(frozen=True)
class Lora:
    """Which matrices of the blocks get a change of low rank."""

    rank: int
    alpha: float
    """The change is multiplied by alpha / rank."""
    matrices: tuple[str, ...]
    """Names of linear layers of a block, such as qkv."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @classmethod
    def of(cls, lineage: Mapping[str, Any]) -> Lora | None:
        """Return what the lineage of a checkpoint says; None if its weights have no adapters."""
        stored = lineage.get("finetune", {}).get("lora")
        return cls(stored["rank"], stored["alpha"], tuple(stored["matrices"])) if stored else None


class LoraLinear(nn.Linear):
    """A linear layer with a frozen weight and a trained change of low rank."""

    def __init__(self, linear: nn.Linear, lora: Lora) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.scale = linear.in_features, linear.out_features, lora.scale
        self.weight, self.bias = linear.weight, linear.bias
        # A is drawn with the other matrices of the model.
        self.lora_down = nn.Parameter(torch.empty(lora.rank, self.in_features, device="meta"))
        self.lora_up = nn.Parameter(torch.zeros(self.out_features, lora.rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + F.linear(F.linear(x, self.lora_down), self.lora_up) * self.scale


def add_adapters(model: Any, lora: Lora, trained: Collection[str] = ()) -> None:
    """Freeze a `GPT` whose matrices are shapes, and give the named matrices of its blocks adapters.

    Args:
        trained: first parts of the names of parameters that are trained as they are.

    Raises:
        UserError: no block has a linear layer of such a name.
    """
    there = {name.rpartition(".")[2] for name, part in model.blocks.named_modules() if isinstance(part, nn.Linear)}
    for name in lora.matrices:
        if name not in there:
            raise UserError(f"lora_matrices has {name!r}, but the blocks of the model have {', '.join(sorted(there))}.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in trained)
    for block in model.blocks:
        for module in list(block.modules()):
            for name, child in module.named_children():
                if name in lora.matrices and isinstance(child, nn.Linear):
                    setattr(module, name, LoraLinear(child, lora))


def language_model(tensors: Mapping[str, torch.Tensor], lineage: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """Return the weights of the plain language model in those of a checkpoint: without a head, and
    with adapters added to their matrices.
    """
    lora = Lora.of(lineage)
    if not any(name.startswith(HEAD) or name.endswith((DOWN, UP)) for name in tensors):
        return tensors
    plain = {name: tensors[name] for name in tensors if not name.startswith(HEAD) and not name.endswith((DOWN, UP))}
    for name in tensors:
        layer, _, kind = name.rpartition(".")
        if kind == DOWN and lora is not None:
            weight, change = plain[f"{layer}.weight"], tensors[f"{layer}.{UP}"].float() @ tensors[name].float()
            plain[f"{layer}.weight"] = weight + lora.scale * change
    return plain
