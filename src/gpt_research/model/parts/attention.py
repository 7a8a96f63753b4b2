"""Causal self-attention: many heads, or groups of heads that share their keys and values.

Shapes: B sequences, T new tokens, S tokens in all, C = n_embd, H heads of D features, K heads of
keys and values (K = H, if there are no groups).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.model.fast.attention import causal_attention, kept_weights
from gpt_research.model.kv_cache import LayerCache
from gpt_research.model.parts.costs import weight_flops
from gpt_research.model.parts.norms import RMSNorm
from gpt_research.model.parts.positions import Positions

if TYPE_CHECKING:
    from gpt_research.model_config import GPTConfig

MUP_HEAD_SIZE = 64
"""Head size at which attention is scaled by the same factor under mup and standard."""


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token attends to itself and to the tokens before it.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", and its
    released model; groups: Ainslie et al. 2023, "GQA"; norms of queries and keys: Henry et al.
    2020, in Qwen3's form.
    """

    residual_projections = ("proj",)
    """Names of the linear layers whose output is added to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.n_embd, (self.n_head + 2 * self.n_kv_head) * self.head_dim, bias=config.bias)
        self.fused_rows = {"qkv": [heads * self.head_dim for heads in (self.n_head, self.n_kv_head, self.n_kv_head)]}
        """Names of linear layers that are several maps in one tensor, and the rows of each map."""
        self.q_norm = RMSNorm(config, self.head_dim) if config.qk_norm else None
        self.k_norm = RMSNorm(config, self.head_dim) if config.qk_norm else None
        self.proj = nn.Linear(self.n_head * self.head_dim, config.n_embd, bias=config.bias)
        # Scores are scaled by 1 / sqrt(D). Trained queries and keys grow alike, so under mup, where
        # widths are to behave alike, the factor is in proportion to 1 / D.
        self.q_scale = math.sqrt(MUP_HEAD_SIZE / self.head_dim) if config.parametrization == "mup" else 1.0

    def forward(
        self,
        x: torch.Tensor,
        positions: Positions,
        at: torch.Tensor,
        cache: LayerCache | None = None,
        value_embedding: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (B, T, C) for tokens `x` (B, T, C) at positions `at`, after those in `cache`.

        `value_embedding` (B, T, K D) is added to the values.
        """
        B, T, _ = x.shape
        heads, groups = self.n_head, self.n_kv_head
        qk, v = self.qkv(x).view(B, T, -1, self.head_dim).split((heads + groups, groups), 2)
        if value_embedding is not None:
            v = v + value_embedding.view(v.shape).to(v.dtype)
        if self.q_norm is not None and self.k_norm is not None:
            # Both are divided at once, because few operations make generation fast.
            q, k = self.q_norm.divided(qk).split((heads, groups), 2)
            q, k = self.q_norm.scaled(q, qk.dtype), self.k_norm.scaled(k, qk.dtype)
        else:
            q, k = qk.split((heads, groups), 2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D), and twice (B, K, T, D)
        q, k = positions.rotate(q, k, at)
        if self.q_scale != 1:
            q = q * self.q_scale
        mask = None
        if cache is not None:
            k, v, mask = cache.append(k, v)  # (B, K, S, D) with S >= T; mask (B or 1, 1, T, S) or None
        bias = positions.bias(at, k.size(2))
        if bias is not None:
            seen = torch.ones(T, T, dtype=torch.bool, device=x.device).tril() if mask is None and T > 1 else mask
            mask = (bias if seen is None else bias.masked_fill(~seen, -math.inf)).to(q.dtype)
        elif cache is not None and cache.bias is not None:
            mask = cache.bias  # the same mask in numbers, once for all layers
        y = self._attend(q, k, v, mask)
        y = y.transpose(1, 2).reshape(B, T, -1)
        return F.dropout(self.proj(y), self.dropout, self.training)

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return (B, H, T, D). Without a mask attention is causal, and a single token sees all."""
        B, H, T, D = q.shape
        dropout, group = self.dropout if self.training else 0.0, H // self.n_kv_head
        if group > 1 and T == 1 and mask is None:
            # The heads of a group stand as so many queries of their keys, which are then read once.
            y = F.scaled_dot_product_attention(q.reshape(B, H // group, group, D), k, v, dropout_p=dropout)
            return y.reshape(B, H, T, D)
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if mask is not None or T == 1:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return causal_attention(q, k, v, dropout)

    def flops_per_token(self, context: int) -> int:
        """FLOPs of training on one token of a full context.

        Besides the weights, 12 H D T for the scores: two products of 2 H D T forward, and twice as
        many backward. Masked scores count. Source: Chowdhery et al. 2022 (PaLM), appendix B.
        """
        return weight_flops(self) + 12 * self.proj.in_features * context

    def activation_bytes(self, context: int, device: str, dtype: torch.dtype) -> int:
        """Bytes of one token that the backward pass needs, if products are taken in `dtype`.

        Its inputs are the input of `qkv`, the queries, the keys, the values and the input of
        `proj`; with dropout, a mask of one byte a number. Fused attention keeps no weights. Source:
        Korthikanti et al. 2022, "Reducing Activation Recomputation", section 4.1.
        """
        width, heads = self.qkv.in_features, self.proj.in_features
        queries_keys = heads + self.n_kv_head * self.head_dim
        # Keys and values are kept as often as heads read them.
        kept = dtype.itemsize * (width + 4 * heads)
        if self.q_norm is not None:
            kept += (dtype.itemsize + 4) * queries_keys  # the norm's input, and what it scales
        weights = kept_weights(device, dtype, context, self.dropout)
        return kept + (width if self.dropout else 0) + self.n_head * weights


ATTENTION: dict[str, Callable[[GPTConfig], CausalSelfAttention]] = {"causal": CausalSelfAttention}
"""`model.attention`: from a config to an attention layer, a subclass of `CausalSelfAttention`."""
