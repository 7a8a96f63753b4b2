"""What a module costs; each part of the model adds its own terms."""

from __future__ import annotations

import torch.nn as nn


def weight_flops(module: nn.Module) -> int:
    """Return a module's FLOPs of training on one token: 6 a weight, 2 forward and 4 backward.

    Source: Chowdhery et al. 2022 (PaLM), appendix B, as nanoGPT uses it. Biases and norms count as
    weights.
    """
    return 6 * sum(parameter.numel() for parameter in module.parameters())
