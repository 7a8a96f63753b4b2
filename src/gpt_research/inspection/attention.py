"""How each head attends: its weights, small pictures of them, and what they are like in numbers.

Shapes: L blocks, H heads, T tokens. Row i of a head's weights says how the token i shares its
attention among the tokens up to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from gpt_research.inspection.predictions import fitting
from gpt_research.inspection.watching import watch
from gpt_research.model.gpt import GPT


@dataclass(frozen=True)
class HeadPictures:
    """The attention of all heads, small enough to be looked at together."""

    pictures: np.ndarray
    """(L, H, size, size) uint8: weights from 0 to 255; a cell shows the largest of its weights."""
    pool: int
    """Tokens on each side of a cell."""
    entropy: np.ndarray
    """(L, H): mean entropy of a row, in nats."""
    to_first: np.ndarray
    """(L, H): mean weight on the first token."""
    to_previous: np.ndarray
    """(L, H): mean weight on the token before."""
    to_self: np.ndarray
    """(L, H): mean weight on the token itself."""
    distance: np.ndarray
    """(L, H): mean distance back, in tokens."""


def attention_weights(model: GPT, tokens: Sequence[int] | np.ndarray, block: int | None = None) -> np.ndarray:
    """Return the attention weights of all blocks, (L, H, T, T) float32; of one `block`, (H, T, T).

    They take 4 L H T T bytes.

    Raises:
        UserError: the tokens do not fit, or the attention's weights cannot be seen.
    """
    found: dict[int, np.ndarray] = {}

    def see(number: int, weights: torch.Tensor) -> None:
        if block in (None, number):
            found[number] = weights[0].cpu().numpy()

    watch(model, fitting(model, tokens)[None], weights=see)
    return np.stack(list(found.values())) if block is None else found[block]


def head_pictures(model: GPT, tokens: Sequence[int] | np.ndarray, size: int = 64) -> HeadPictures:
    """Return pictures of all heads of at most `size` cells a side, and their numbers.

    The numbers are means over the tokens from the second on, because the first has no choice.

    Raises:
        UserError: the tokens do not fit, or the attention's weights cannot be seen.
    """
    ids = fitting(model, tokens)
    pool = -(-len(ids) // size)
    pictures: list[np.ndarray] = []
    numbers: list[np.ndarray] = []

    def see(number: int, weights: torch.Tensor) -> None:
        small = F.max_pool2d(weights, pool, ceil_mode=True)[0]
        pictures.append((small * 255).round().byte().cpu().numpy())
        numbers.append(_numbers(weights[0]).cpu().numpy())

    watch(model, ids[None], weights=see)
    return HeadPictures(np.stack(pictures), pool, *np.stack(numbers, 1))


def _numbers(weights: torch.Tensor) -> torch.Tensor:
    """Return the numbers of a block's heads, (5, H), for weights (H, T, T)."""
    rows = weights[:, min(1, weights.size(1) - 1) :]  # (H, T - 1, T)
    entropy = torch.special.entr(rows).sum(-1).mean(-1)
    to_self = weights.diagonal(dim1=1, dim2=2)[:, 1:]
    to_previous = weights.diagonal(-1, 1, 2)
    at = torch.arange(weights.size(1), device=weights.device, dtype=weights.dtype)
    distance = (rows * (at[-rows.size(1) :, None] - at).clamp(min=0)).sum(-1).mean(-1)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.mean(-1) if values.size(-1) else values.new_zeros(len(values))

    return torch.stack((entropy, rows[:, :, 0].mean(-1), mean(to_previous), mean(to_self), distance))
