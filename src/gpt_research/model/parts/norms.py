"""Norms over the features of a token, or of a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn as nn

from gpt_research.model.fast.norms import rms_normed

if TYPE_CHECKING:
    from gpt_research.model_config import GPTConfig


class LayerNorm(nn.LayerNorm):
    """Normalise over the features, scale, and with biases shift. Source: Ba et al. 2016."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config.n_embd, config.norm_eps, bias=config.bias)


class RMSNorm(nn.Module):
    """Divide by the root of the mean square, and scale. Source: Zhang and Sennrich 2019.

    As in Llama the division is in fp32, and the scale is multiplied in afterwards.
    """

    def __init__(self, config: GPTConfig, features: int | None = None) -> None:
        """Norm over `features`, by default over the width of the residual stream."""
        super().__init__()
        self.eps = config.norm_eps
        self.weight = nn.Parameter(torch.ones(features or config.n_embd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scaled(self.divided(x), x.dtype)

    def divided(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` divided by the root of its mean square, in fp32."""
        return rms_normed(x, self.eps)

    def scaled(self, normed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return (normed * self.weight).to(dtype)


NORMS: dict[str, Callable[[GPTConfig], nn.Module]] = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}
"""`model.norm`: from a config to a module that maps (B, T, C) to (B, T, C)."""
