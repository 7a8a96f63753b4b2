"""The parts of a GPT-2 block: causal self-attention, the feed-forward network, and the block that joins them.

Shapes: B sequences, T tokens, C = n_embd, H heads of D = C / H. Knows nothing about vocabularies or losses.
Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", and its released model.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.config import GPTConfig
from gpt_research.model.fast.attention import causal_attention
from gpt_research.model.kv_cache import LayerCache


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token sees itself and what came before."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: torch.Tensor, cache: LayerCache | None = None) -> torch.Tensor:
        """Attend over `x` (B, T, C), and over what `cache` holds where one is given; returns (B, T, C)."""
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).unbind(2)  # each (B, T, H, D)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D)
        mask = None
        if cache is not None:
            k, v, mask = cache.append(k, v)  # (B, H, S, D) with S >= T; mask (B, 1, T, S) or None
        dropout = self.dropout if self.training else 0.0
        if mask is not None or T == 1:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        else:
            y = causal_attention(q, k, v, dropout)
        y = y.transpose(1, 2).reshape(B, T, C)
        return F.dropout(self.proj(y), self.dropout, self.training)


class MLP(nn.Module):
    """The feed-forward network: four times as wide inside, GELU in its tanh form as in GPT-2."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.up(x), approximate="tanh")  # (B, T, 4C)
        return F.dropout(self.down(x), self.dropout, self.training)


class Block(nn.Module):
    """A pre-norm residual block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attention = CausalSelfAttention(config)
        self.norm_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, cache: LayerCache | None = None) -> torch.Tensor:
        x = x + self.attention(self.norm_1(x), cache)
        return x + self.mlp(self.norm_2(x))


def sinusoidal_positions(block_size: int, n_embd: int) -> torch.Tensor:
    """Return the (block_size, n_embd) table PE(t, 2i) = sin(t / 10000^(2i/C)), PE(t, 2i+1) = cos(same).

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """
    t = torch.arange(block_size, dtype=torch.float64)[:, None]
    frequencies = 10000.0 ** (-torch.arange(0, n_embd, 2, dtype=torch.float64) / n_embd)
    angles = t * frequencies  # (block_size, C / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()
