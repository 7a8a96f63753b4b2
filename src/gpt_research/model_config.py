"""The settings of a model's shape. Like `config`, this module does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gpt_research.base.errors import require


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. The defaults are GPT-2 124M at a context of 512."""

    n_layer: int = 12
    """Transformer blocks."""
    n_head: int = 12
    """Attention heads of each block; it must divide n_embd, unless head_size is given."""
    n_kv_head: int | None = None
    """Heads of keys and values; each serves a group of query heads. Default: n_head (no groups)."""
    head_size: int | None = None
    """Width of an attention head. Default: n_embd / n_head."""
    n_embd: int = 768
    """Width of the residual stream."""
    n_ff: int | None = None
    """Width inside a feed-forward network. Default: 4 n_embd; with a gate 8/3 n_embd, which has as
    many weights."""
    block_size: int = 512
    """Longest context, in tokens."""
    vocab_size: int = 50257
    """Entries of the tokenizer. Training reads the number from the data set."""
    dropout: float = 0.0
    """Share of activations that training drops, after the embedding, in attention and after each
    residual branch."""
    bias: bool = True
    """Give linear layers and norms a bias, as GPT-2 does."""
    norm: str = "layernorm"
    """layernorm (GPT-2) or rmsnorm (Llama): no mean is taken away, and there is no bias."""
    norm_eps: float = 1e-5
    """Added to the mean square before a norm divides by its root."""
    activation: str = "gelu_tanh"
    """Of the feed-forward network: gelu_tanh (GPT-2), gelu, relu2; swiglu and geglu have a gate."""
    positions: str = "learned"
    """learned (GPT-2), sinusoidal (Vaswani et al. 2017), rope (rotary; Llama), alibi (Bloom), or
    none."""
    rope_theta: float = 10_000.0
    """Base of the rotary angles: pair i of a head turns by theta^(-2i/D) a token."""
    attention: str = "causal"
    """causal: a token attends to itself and to all tokens before it."""
    qk_norm: bool = False
    """RMS-norm each head's queries and keys before positions turn them, as Qwen3 does."""
    value_embeddings: bool = False
    """Give the last and every second block before it a table of its own that adds a vector for each
    token to the values."""
    logit_softcap: float = 0.0
    """Squeeze logits into plus or minus this by tanh, as Gemma 2 does; 0 leaves them."""
    tie_weights: bool = True
    """Use the token embedding as the output head too."""
    initialisation: Literal["gpt2", "zero_projections"] = "gpt2"
    """gpt2: Normal(0, 0.02), smaller where a branch joins the residual stream. zero_projections: 0
    there, so that each block begins as the identity."""
    parametrization: Literal["standard", "mup"] = "standard"
    """mup: initial weights, learning rates and scales change with the width, so that one learning
    rate is the best at all widths (Yang et al. 2022)."""
    mup_base_width: int = 256
    """Width at which mup equals standard, but for the scale of attention."""

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "mup_base_width"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
        for name in ("n_kv_head", "head_size", "n_ff"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"model.{name}", value, "at least 1")
        rule = f"a multiple of model.n_head ({self.n_head})"
        divides = self.head_size is not None or self.n_embd % self.n_head == 0
        require(divides, "model.n_embd", self.n_embd, rule)
        rule = f"a divisor of model.n_head ({self.n_head})"
        require(self.n_head % self.kv_heads == 0, "model.n_kv_head", self.n_kv_head, rule)
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        for name in ("norm_eps", "rope_theta"):
            require(0 < getattr(self, name) < math.inf, f"model.{name}", getattr(self, name), "a number above 0")
        require(0 <= self.logit_softcap < math.inf, "model.logit_softcap", self.logit_softcap, "0 or more")
        even = self.positions != "sinusoidal" or self.n_embd % 2 == 0
        require(even, "model.n_embd", self.n_embd, "even for sinusoidal positions")
        even = self.positions != "rope" or self.head_dim % 2 == 0
        require(even, "model.head_size", self.head_dim, "even for rope")

    @property
    def head_dim(self) -> int:
        """Width of an attention head, D."""
        return self.n_embd // self.n_head if self.head_size is None else self.head_size

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def width_ratio(self) -> float:
        """Width in units of the one at which mup equals standard; 1 for standard."""
        return self.n_embd / self.mup_base_width if self.parametrization == "mup" else 1.0

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: a multiple of 64, because matrix units are fast at it."""
        return math.ceil(self.vocab_size / 64) * 64
