"""Cross-entropy of a linear head in chunks, so that not all logits are held at once.

The logits of a GPT-2 vocabulary are by far the largest tensor of a training step: 0.8 GB in fp32
for 4,096 tokens. Here they are computed for a chunk of tokens, turned into loss and gradient at
once, and dropped. The arithmetic is that of the plain loss, and no product is computed twice.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

CACHED = 4 << 20
"""Bytes of fp32 that one CPU core works on at a time, so that they stay in its cache."""

LOGIT_COPIES = 3
"""fp32 copies of the logits at the peak of backward: log-probabilities and two gradients."""


def workspace_bytes(chunk: int, rows: int, width: int, device: str, dtype: torch.dtype) -> int:
    """Return the bytes that `ChunkedCrossEntropy` allocates for a head of (rows, width) in `dtype`.

    They are the logits of a chunk, and the head's gradient in fp32 before and after it is scaled. A
    CPU makes fp32 copies of a few logits at a time only.
    """
    logit = dtype.itemsize if device == "cpu" else LOGIT_COPIES * 4
    return rows * (logit * chunk + 8 * width)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy in nats of `h @ weight.T`; forward computes the gradient too.

    h is (N, C), weight (V', C) with V' >= vocab_size, targets (N,); a target of -1 does not count.
    A `softcap` other than 0 squeezes the scores first.
    """

    @staticmethod
    def forward(
        ctx: Any,
        h: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        vocab_size: int,
        chunk: int,
        softcap: float = 0.0,
    ) -> torch.Tensor:
        device = h.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else h.dtype
        needs_gradient = any(ctx.needs_input_grad[:2])
        with torch.autocast(device, enabled=False):
            w = weight.to(dtype)
            nats = torch.zeros((), device=h.device)
            dh = torch.empty_like(h) if needs_gradient else None
            dw = torch.zeros_like(weight, dtype=torch.float32) if needs_gradient else None
            for x, y, begin in zip(h.split(chunk), targets.split(chunk), range(0, len(h), chunk), strict=True):
                x = x.to(dtype)
                logits = x @ w.t()  # (chunk, V')
                pieces = zip(_in_cache(logits), y.split(_rows(logits)), strict=True)
                if dh is None or dw is None:
                    nats += sum(_nats(*piece, vocab_size, softcap) for piece in pieces)
                    continue
                nats += sum(_nats_and_gradient(*piece, vocab_size, softcap) for piece in pieces)
                # Tokens that do not count become 0 on the narrow side of the products.
                counts = (y >= 0)[:, None]
                dh[begin : begin + len(x)] = (logits @ w) * counts
                for total, part in zip(_in_cache(dw), _in_cache(logits.t() @ (x * counts)), strict=True):
                    total += part.float()  # torch is five times as slow if it adds 16 bits to 32
        ctx.save_for_backward(dh, dw)
        return nats

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dh, dw = ctx.saved_tensors
        return dh * scale, dw * scale, None, None, None, None


def softcapped(scores: torch.Tensor, cap: float) -> torch.Tensor:
    """Return `scores` squeezed between -cap and cap. Source: Gemma Team 2024, "Gemma 2"."""
    return cap * torch.tanh(scores / cap)


def _scores(logits: torch.Tensor, vocab_size: int, softcap: float) -> torch.Tensor:
    """Return the scores of `logits` (n, V') in fp32; those of the padding are minus infinity."""
    logits[:, vocab_size:] = -math.inf
    scores = logits.float()
    if softcap:
        scores = softcapped(scores, softcap)
        scores[:, vocab_size:] = -math.inf
    return scores


def _nats(logits: torch.Tensor, targets: torch.Tensor, vocab_size: int, softcap: float) -> torch.Tensor:
    scores = _scores(logits, vocab_size, softcap)
    return F.cross_entropy(scores, targets, ignore_index=-1, reduction="sum")


def _nats_and_gradient(logits: torch.Tensor, targets: torch.Tensor, vocab_size: int, softcap: float) -> torch.Tensor:
    """Return the summed nats of `logits` (n, V'); overwrite them with the gradient: softmax minus
    one-hot, times the slope of the cap.
    """
    scores, target = _scores(logits, vocab_size, softcap), targets.clamp(min=0)[:, None]
    highest, own = scores.amax(-1, keepdim=True), scores.gather(1, target)
    softmax = scores.softmax(-1)
    # The log of the sum of exponentials comes from the likeliest entry, whose share cannot vanish.
    nats = highest - softmax.amax(-1, keepdim=True).log() - own
    if torch.compiler.is_compiling():
        # One kernel computes this and writes it over the logits. It would write the softmax in fp32
        # and read it again, if single entries of that were changed.
        columns = torch.arange(logits.size(1), device=logits.device)
        softmax = softmax - (columns == target).float()
    else:
        softmax.scatter_add_(1, target, softmax.new_full(target.shape, -1.0))
    if softcap:
        # The slope of the tanh is 1 - tanh^2. The padding has no softmax, and so no gradient.
        softmax = softmax * (1 - (scores.clamp(min=-softcap) / softcap).square())
    logits.copy_(softmax)
    return (nats.squeeze(1) * (targets >= 0)).sum()


def _rows(matrix: torch.Tensor) -> int:
    """Return how many rows to work on at a time: as many as a CPU's caches hold, elsewhere all."""
    if matrix.device.type != "cpu" or torch.compiler.is_compiling():
        return len(matrix)
    return max(1, CACHED * torch.get_num_threads() // (4 * matrix.size(1)))


def _in_cache(matrix: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return matrix.split(_rows(matrix))
