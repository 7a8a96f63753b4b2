"""Cut a sequence of tokens into windows that fit the context of a model.

A `Window` is a piece of the sequence; its last tokens are scored, given all tokens before them in
the window. There are two ways to cut, because published figures use both: the rolling windows of
lm-eval, and the sliding windows of the guide of transformers. This module knows nothing about
models or about text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Consecutive tokens. The model reads all but the last, and the last `scored` are scored."""

    tokens: Sequence[int] | np.ndarray
    scored: int


@dataclass(frozen=True)
class Scores:
    """The scores of the scored tokens of one window."""

    nats: np.ndarray
    """(scored,) float64: -ln p of each token, given all tokens before it in the window."""
    greedy: np.ndarray
    """(scored,) bool: True if no other token was likelier."""


def rolling_windows(tokens: Sequence[int], first: int, context: int) -> Iterator[Window]:
    """Yield lm-eval's windows, which score each token from number `first` on once.

    A window scores as many new tokens as the context holds. The last window has fewer new tokens;
    tokens before them fill its context. If all scored tokens fit the context, there is one window,
    and the tokens before them are cut on the left.

    Args:
        first: at least 1, because there is no token that token 0 could be predicted from.
    """
    assert first >= 1, "token 0 cannot be predicted from anything"
    while first < len(tokens):
        end = min(first + context, len(tokens))
        yield Window(tokens[max(0, end - context - 1) : end], end - first)
        first = end


def sliding_windows(count: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield (begin, first, end): a window holds the tokens [begin, end) and scores [first, end).

    A window holds `context` tokens and begins `stride` tokens after the window before it. It scores
    the tokens that no earlier window scored, except its own first token, which has no token before
    it. So if the stride is the context, the first token of each window is never scored.
    Source: the guide "Perplexity of fixed-length models" of transformers.
    """
    assert 1 <= stride <= context, "the caller checks the stride"
    covered = 0
    for begin in range(0, count, stride):
        end, first = min(begin + context, count), max(covered, begin + 1)
        if first < end:
            yield begin, first, end
        covered = end
        if end == count:
            return
