"""Cross-entropy of a linear head, without ever holding the logits of all tokens.

Logits of a GPT-2 vocabulary are by far the largest tensor of a training step: 0.8 GB in fp32 for 4,096 tokens. Here
they are made for some tokens at a time, turned into loss and gradient at once, and forgotten. The arithmetic is that
of the plain way, and no product is computed twice.
"""

from __future__ import annotations

import math
from typing import Any

import torch


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy in nats of `h @ weight.T` against `targets`; the gradient comes with the value.

    h is (N, C), weight (V', C) with V' >= vocab_size, targets (N,); a target of -1 does not count.
    """

    @staticmethod
    def forward(
        ctx: Any, h: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, vocab_size: int, chunk: int
    ) -> torch.Tensor:
        device = h.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else h.dtype
        needs_gradient = any(ctx.needs_input_grad[:2])
        with torch.autocast(device, enabled=False):
            w = weight.to(dtype)
            nats = torch.zeros((), device=h.device)
            dh = torch.empty_like(h) if needs_gradient else None
            dw = torch.zeros_like(weight, dtype=torch.float32) if needs_gradient else None
            for x, y, place in zip(h.split(chunk), targets.split(chunk), range(0, len(h), chunk), strict=True):
                x = x.to(dtype)
                logits = (x @ w.t()).float()  # (chunk, V')
                logits[:, vocab_size:] = -math.inf
                logprobs = torch.log_softmax(logits, -1)
                counts, y = y >= 0, y.clamp(min=0)[:, None]
                nats -= (logprobs.gather(1, y).squeeze(1) * counts).sum()
                if dh is None or dw is None:
                    continue
                # d nats / d logits = softmax - one-hot of the target
                gradient = logprobs.exp_()
                gradient.scatter_add_(1, y, gradient.new_full(y.shape, -1.0))
                gradient = (gradient * counts[:, None]).to(dtype)
                dh[place : place + len(x)] = gradient @ w
                dw += gradient.t() @ x
        ctx.save_for_backward(dh, dw)
        return nats

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dh, dw = ctx.saved_tensors
        return dh * scale, dw * scale, None, None, None
