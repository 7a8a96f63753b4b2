"""The feed-forward network of a block, and its activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.base.errors import look_up
from gpt_research.model.parts.costs import weight_flops

if TYPE_CHECKING:
    from gpt_research.model_config import GPTConfig

Activation = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Gate:
    """The activation of a gate: a second layer beside `up`, whose output `up` is multiplied with.

    Source: Shazeer 2020, "GLU Variants Improve Transformer".
    """

    function: Activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """GELU in the tanh form that GPT-2 uses. Source: Hendrycks and Gimpel 2016, section 2."""
    return F.gelu(x, approximate="tanh")


def relu2(x: torch.Tensor) -> torch.Tensor:
    """The square of ReLU. Source: So et al. 2021, "Primer"."""
    return F.relu(x).square()


ACTIVATIONS: dict[str, Activation] = {
    "gelu_tanh": gelu_tanh,
    "gelu": F.gelu,
    "relu2": relu2,
    "swiglu": Gate(F.silu),
    "geglu": Gate(gelu_tanh),
}
"""`model.activation`: an element-wise function of the hidden features, or the `Gate` of another
layer."""

GATED_WIDTH_MULTIPLE = 64
"""A default width with a gate is rounded up to a multiple of this, because products of other widths
are slower."""


def ff_width(config: GPTConfig) -> int:
    """Return the width inside the feed-forward network, `n_ff` or its default."""
    if config.n_ff is not None:
        return config.n_ff
    if not isinstance(ACTIVATIONS.get(config.activation), Gate):
        return 4 * config.n_embd
    # Three layers of 8/3 C have the weights of two layers of 4 C.
    return -(-8 * config.n_embd // (3 * GATED_WIDTH_MULTIPLE)) * GATED_WIDTH_MULTIPLE


class MLP(nn.Module):
    """A linear layer to F features, the activation, and a linear layer back to C.

    With a `Gate` the activation is that of a layer `gate`, and its output multiplies that of `up`.
    """

    residual_projections = ("down",)

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.activation = look_up(ACTIVATIONS, config.activation, "model.activation")
        width = ff_width(config)
        self.gate = nn.Linear(config.n_embd, width, bias=config.bias) if isinstance(self.activation, Gate) else None
        self.up = nn.Linear(config.n_embd, width, bias=config.bias)
        self.down = nn.Linear(width, config.n_embd, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.gate is None:
            x = self.activation(self.up(x))  # (B, T, F)
        else:
            x = self.activation(self.gate(x)) * self.up(x)
        return F.dropout(self.down(x), self.dropout, self.training)

    def flops_per_token(self) -> int:
        """FLOPs of training on one token."""
        return weight_flops(self)

    def activation_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of one token for backward: the inputs of `up`, activation, `down` and dropout; with
        a gate, also both factors of the product.
        """
        hidden = self.up.out_features * (2 if self.gate is None else 4)
        return dtype.itemsize * (self.up.in_features + hidden) + (self.down.out_features if self.dropout else 0)
