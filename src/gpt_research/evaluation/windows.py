"""How a text is cut into pieces that fit the model's context.

A `Window` is a piece of tokens of which the last ones are scored. There are two conventions, because
published figures follow both: lm-eval's rolling windows and the sliding windows of transformers' guide.
Knows nothing about models or about text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Tokens of which the last `scored` are asked about; the model reads all but the last."""

    tokens: Sequence[int] | np.ndarray
    scored: int


@dataclass(frozen=True)
class Scores:
    """What the model makes of the scored tokens of one window."""

    nats: np.ndarray
    """(scored,) float64: -ln p of each token, given all before it in the window."""
    greedy: np.ndarray
    """(scored,) bool: whether no token was likelier."""


def rolling_windows(tokens: Sequence[int], first: int, context: int) -> Iterator[Window]:
    """Cover the tokens from number `first` (1 or more) on, each scored once, as lm-eval does.

    A window scores as many new tokens as the context holds; what is before them fills it up, so that the last
    window sees a whole context. A continuation that fits is one window, its text cut on the left.
    """
    assert first >= 1, "the first token has nothing to be predicted from"
    while first < len(tokens):
        end = min(first + context, len(tokens))
        yield Window(tokens[max(0, end - context - 1) : end], end - first)
        first = end


def sliding_windows(count: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield (begin, first, end) of Hugging Face's windows over `count` tokens: [first, end) is scored in [begin, end).

    A window holds `context` tokens and begins `stride` after the one before. Scored is what no window scored yet
    and what has a token before it in the window: with a stride of the context, all but the first of each window.
    Source: the guide "Perplexity of fixed-length models" of transformers.
    """
    assert 1 <= stride <= context, "checked where the user sets it"
    covered = 0
    for begin in range(0, count, stride):
        end, first = min(begin + context, count), max(covered, begin + 1)
        if first < end:
            yield begin, first, end
        covered = end
        if end == count:
            return
