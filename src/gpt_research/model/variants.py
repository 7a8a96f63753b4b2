"""The parts of a model that a setting chooses by name: norms, activations, positions and attention.

`model.norm: layernorm` in a config selects the entry `layernorm` of `NORMS`; the other three tables
work alike. A part is built from the model's config. To add a part, put an entry into its table
before the model is built.

Shapes: B sequences, T new tokens, S tokens in all, C = n_embd, H heads of D = C / H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.base.errors import look_up
from gpt_research.config import GPTConfig
from gpt_research.model.fast.attention import causal_attention, kept_weights
from gpt_research.model.kv_cache import LayerCache


class LayerNorm(nn.LayerNorm):
    """Normalise over the features, scale, and with biases shift. Source: Ba et al. 2016."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config.n_embd, bias=config.bias)


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """GELU in the tanh form that GPT-2 uses. Source: Hendrycks and Gimpel 2016, section 2."""
    return F.gelu(x, approximate="tanh")


class Positions(nn.Module):
    """A position encoding tells the model where a token stands. This base class changes nothing.

    An encoding overrides `embed`, if it changes the embedding of a token, or `rotate`, if it
    changes queries and keys. `at` holds the position of each token: (T,), or (B, T) if the rows of
    a batch stand at different positions.
    """

    def embed(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Return the input of the first block, (B, T, C), for token embeddings `x` (B, T, C)."""
        return x

    def rotate(self, q: torch.Tensor, k: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries and keys, both (B, H, T, D), for the scores of one block.

        The KV cache keeps the keys that this returns.
        """
        return q, k


class LearnedPositions(Positions, nn.Embedding):
    """A learned vector for each position, as GPT-2 has it."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config.block_size, config.n_embd)

    def embed(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return x + self(at)


class SinusoidalPositions(Positions):
    """Fixed sines and cosines. Source: Vaswani et al. 2017, section 3.5."""

    table: torch.Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.register_buffer("table", sinusoidal_positions(config.block_size, config.n_embd), persistent=False)

    def embed(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        # Section 3.4 scales the embeddings, so that the sines do not drown the tokens.
        return x * math.sqrt(x.size(-1)) + self.table[at]


def sinusoidal_positions(block_size: int, n_embd: int) -> torch.Tensor:
    """Return (block_size, n_embd): PE(t, 2i) = sin(t / 10000^(2i/C)), PE(t, 2i+1) = cos(same)."""
    t = torch.arange(block_size, dtype=torch.float64)[:, None]
    frequencies = 10000.0 ** (-torch.arange(0, n_embd, 2, dtype=torch.float64) / n_embd)
    angles = t * frequencies  # (block_size, C / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token attends to itself and to the tokens before it.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", and its
    released model.
    """

    residual_projections = ("proj",)
    """Names of the linear layers whose output is added to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(
        self, x: torch.Tensor, positions: Positions, at: torch.Tensor, cache: LayerCache | None = None
    ) -> torch.Tensor:
        """Return (B, T, C) for tokens `x` (B, T, C) at positions `at`, after those in `cache`."""
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).unbind(2)  # each (B, T, H, D)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D)
        q, k = positions.rotate(q, k, at)
        mask = None
        if cache is not None:
            k, v, mask = cache.append(k, v)  # (B, H, S, D) with S >= T; mask (B, 1, T, S) or None
            mask = mask if cache.bias is None else cache.bias
        dropout = self.dropout if self.training else 0.0
        if mask is not None or T == 1:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        else:
            y = causal_attention(q, k, v, dropout)
        y = y.transpose(1, 2).reshape(B, T, C)
        return F.dropout(self.proj(y), self.dropout, self.training)

    def flops_per_token(self, context: int) -> int:
        """FLOPs of training on one token of a full context.

        Besides the weights, 12 C T for the scores: two products of 2 C T forward, and twice as many
        backward. Masked scores count. Source: Chowdhery et al. 2022 (PaLM), appendix B.
        """
        return weight_flops(self) + 12 * self.proj.in_features * context

    def activation_bytes(self, context: int, device: str, dtype: torch.dtype) -> int:
        """Bytes of one token that the backward pass needs, if products are taken in `dtype`.

        Its inputs are the input of `qkv`, the queries, the keys, the values and the input of
        `proj`; with dropout, a mask of one byte a number. Fused attention keeps no weights. Source:
        Korthikanti et al. 2022, "Reducing Activation Recomputation", section 4.1.
        """
        width = self.proj.in_features
        kept = dtype.itemsize * (width + self.qkv.out_features + width)
        weights = kept_weights(device, dtype, context, self.dropout)
        return kept + (width if self.dropout else 0) + self.n_head * weights


def weight_flops(module: nn.Module) -> int:
    """Return a module's FLOPs of training on one token: 6 a weight, 2 forward and 4 backward.

    Source: Chowdhery et al. 2022 (PaLM), appendix B, as nanoGPT uses it. Biases and norms count as
    weights.
    """
    return 6 * sum(parameter.numel() for parameter in module.parameters())


NORMS: dict[str, Callable[[GPTConfig], nn.Module]] = {"layernorm": LayerNorm}
"""`model.norm`: from a config to a module that maps (B, T, C) to (B, T, C)."""

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"gelu_tanh": gelu_tanh}
"""`model.activation`: an element-wise function of the MLP's hidden features."""

POSITIONS: dict[str, Callable[[GPTConfig], Positions]] = {
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
}
"""`model.positions`: from a config to a position encoding."""

ATTENTION: dict[str, Callable[[GPTConfig], CausalSelfAttention]] = {"causal": CausalSelfAttention}
"""`model.attention`: from a config to an attention layer, a subclass of `CausalSelfAttention`."""

_TABLES: Mapping[str, Mapping[str, object]] = {
    "norm": NORMS,
    "activation": ACTIVATIONS,
    "positions": POSITIONS,
    "attention": ATTENTION,
}


def check_variants(config: GPTConfig) -> None:
    """Check the names of a config's parts before anything is built.

    Raises:
        UserError: a table has no entry of that name; the message lists the entries.
    """
    for setting, table in _TABLES.items():
        look_up(table, getattr(config, setting), f"model.{setting}")
