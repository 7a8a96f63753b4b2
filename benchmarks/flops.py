"""FLOPs of a model by their two terms, and MFU with both; every benchmark of speed prints it so.

Training on a token takes 6 N for the weights' products (N multiply: the blocks and the head) and
12 L T C for attention (L layers, T context, C width). Reading a token takes a third of both.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch

from gpt_research.base.peak_flops import measured_flops, stated_flops
from gpt_research.base.runtime import Runtime
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig


@dataclass(frozen=True)
class Flops:
    """FLOPs of training on one token."""

    weights: float
    attention: float

    @property
    def both(self) -> float:
        return self.weights + self.attention

    def reading(self, share_of_context: float = 1.0) -> Flops:
        """Return those of the forward pass, at a share of the whole context."""
        return Flops(self.weights / 3, self.attention / 3 * share_of_context)


@dataclass(frozen=True)
class Peak:
    """The peak of a device, and where it is from."""

    flops: float
    source: str

    def mfu(self, flops: Flops, tokens_per_s: float) -> str:
        """Return MFU in words: both terms together, and each."""
        whole, weights, attention = (
            f"{term * tokens_per_s / self.flops:.1%}" for term in (flops.both, flops.weights, flops.attention)
        )
        return f"{whole} = {weights} + {attention}"

    def __str__(self) -> str:
        return f"{self.flops / 1e12:,.2f} TFLOP/s ({self.source})"


HEADING = "MFU = 6 N + 12 L T C"


def flops_of(config: GPTConfig) -> Flops:
    with torch.device("meta"):  # shapes only
        both = GPT(config).flops_per_token()
    attention = 12.0 * config.n_layer * config.block_size * config.n_embd
    return Flops(both - attention, attention)


def peak_of(runtime: Runtime) -> Peak:
    """Return what the maker states, or what a matrix product reaches now."""
    if stated := stated_flops(runtime):
        return Peak(stated, "as its maker states it")
    return Peak(measured_flops(runtime), "a matrix product, measured")
