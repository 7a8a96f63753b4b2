"""Causal attention over a whole sequence: torch's fused kernel, or blocks if that is slow."""

from __future__ import annotations

import contextlib
import math

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BLOCK = 128
"""Queries that are multiplied together; scores beyond the end of their block are not computed."""
LONGEST = 1024
"""Longest sequence whose attention weights are kept for backward; they grow with its square."""


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(D)) v with a causal mask; all tensors are (B, H, T, D)."""
    if keeps_weights(q.device.type, q.dtype, q.size(2), dropout) and torch.is_grad_enabled():
        return _in_blocks(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)


def for_any_length(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context in which attention costs the same at a length that it has not seen before.

    On newer NVIDIA cards torch prefers cuDNN, which builds a plan of tens of milliseconds for every
    new length. Training has one length, but generation has a new one at each token.
    """
    if device.type != "cuda":
        return contextlib.nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def keeps_weights(device: str, dtype: torch.dtype, length: int, dropout: float = 0.0) -> bool:
    """Return whether training attends in blocks and keeps the weights for backward.

    On a CPU in bf16 that takes half the time of torch's fused kernel. The scores are rounded to
    bf16, as all products are; the fused kernel keeps them in fp32.
    """
    return device == "cpu" and dtype == torch.bfloat16 and length <= LONGEST and dropout == 0


def kept_weights(device: str, dtype: torch.dtype, length: int, dropout: float = 0.0) -> int:
    """Return the bytes of attention weights that the backward pass needs of one token and head."""
    if dropout:
        # On a CPU torch fuses no attention with dropout; it keeps weights, mask and product.
        return (2 * dtype.itemsize + 1) * length if device == "cpu" else 0
    if keeps_weights(device, dtype, length):
        # A query keeps the weights up to the end of its block: half of all, and half a block.
        return dtype.itemsize * (length + BLOCK) // 2
    return 0


def _in_blocks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    B, H, T, D = q.shape
    # The queries are scaled, because they have T x D entries a head and the scores T x T.
    q, k, v = (x.reshape(B * H, T, D) for x in (q / math.sqrt(D), k, v))
    unseen = torch.full((BLOCK, BLOCK), -math.inf, dtype=q.dtype).triu(1)
    blocks = []
    for begin, queries in zip(range(0, T, BLOCK), q.split(BLOCK, 1), strict=True):
        n, end = queries.size(1), begin + queries.size(1)
        scores = queries @ k[:, :end].mT
        # Keys before the block are in every query's past, so only the diagonal block has a mask.
        scores[..., begin:] += unseen[:n, :n]
        blocks.append(scores.softmax(-1) @ v[:, :end])
    return torch.cat(blocks, 1).view(B, H, T, D)
