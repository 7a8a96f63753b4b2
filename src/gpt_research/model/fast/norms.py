"""The division of RMS-norm: torch's operation, or a formula that is faster for a few rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def rms_normed(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Return x / sqrt(mean(x^2) + eps) over the last dimension, in fp32.

    On a CPU torch takes five operations for it, and a token that is generated has some fifty norms.
    Without a gradient four operations are enough, because one returns the root of the sum.
    """
    x, features = x.float(), x.size(-1)
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.rms_norm(x, (features,), eps=eps)
    root = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * (root * root).mul_(1 / features).add_(eps).rsqrt_()
