"""The longest parts of a text that stand in a data set, token for token.

The tokens at the edges of a text depend on what stands beside it: "the" begins a text, and " the"
goes on with one. So a text is looked for as the beginning of a document, behind a blank and behind
a line break, and the longest parts that any of these finds count. If it is known what stands before
the text, that alone decides. Inside a text, parts begin and end where tokens do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.tracing.index import Index, Match

LEADS = ("", " ", "\n")
"""What may stand before a text of which nothing else is known."""


@dataclass(frozen=True)
class Tokens:
    """A text as tokens that it may have in a longer one."""

    ids: np.ndarray
    """(m,) int64."""
    bounds: np.ndarray
    """(m + 1,) int64, the byte of the text at which each token begins, and the end."""


@dataclass(frozen=True)
class Found:
    """A part of a text, and where the two splits have it."""

    start: int
    stop: int
    """Its bytes in the text, from `start` to before `stop`."""
    ids: tuple[int, ...]
    train: Match
    val: Match
    """Its places in the splits; those of a split that does not have it are none."""


def tokens_of(text: str, tokenizer: Tokenizer, before: str | None = None) -> list[Tokens]:
    """Return the tokens that a text may have.

    Args:
        before: what stands before the text; None if that is not known.

    Raises:
        UserError: the vocabulary has no token for one of its characters.
    """
    leads = LEADS if before is None else (before,)
    found: dict[bytes, Tokens] = {}
    for lead in leads:
        try:
            ids = np.array(tokenizer.encode(lead + text), np.int64)
        except UserError:
            if lead == leads[0]:
                raise
            continue  # a vocabulary of characters without this one
        bounds = np.concatenate([[0], np.cumsum(tokenizer.byte_lengths[ids])]) - len(tokenizer.prepared(lead).encode())
        own = bounds[1:] > 0  # a token that begins before the text and reaches into it counts
        ids, bounds = ids[own], np.concatenate([np.maximum(bounds[:-1][own], 0), bounds[-1:]])
        found.setdefault(ids.tobytes(), Tokens(ids, bounds))
    return list(found.values())


def longest_parts(variants: Sequence[Tokens], index: Index) -> list[Found]:
    """Return the parts of a text that a split has and that lie in no longer part that one has, by
    their place in the text. Several have the same bytes if they stand there as other tokens.
    """
    parts: dict[tuple[int, int, bytes], Tokens] = {}
    for tokens in variants:
        for split in (index.train, index.val):
            reached = 0
            for begin, match in enumerate(split.longest(tokens.ids)):
                end = begin + match.length
                if match.length and end > reached:
                    reached = end
                    start, stop = int(tokens.bounds[begin]), int(tokens.bounds[end])
                    ids = tokens.ids[begin:end]
                    parts[start, stop, ids.tobytes()] = Tokens(ids, tokens.bounds[begin : end + 1])
    widest = _maximal({(start, stop) for start, stop, _ in parts})
    found = []
    for (start, stop, _), tokens in sorted(parts.items(), key=lambda item: item[0][:2]):
        if (start, stop) in widest:
            matches = index.train.whole(tokens.ids), index.val.whole(tokens.ids)
            found.append(Found(start, stop, tuple(tokens.ids.tolist()), *matches))
    return found


def _maximal(ranges: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the ranges that lie in no other one."""
    kept, reached = set(), -1
    for start, stop in sorted(ranges, key=lambda each: (each[0], -each[1])):
        if stop > reached:
            kept.add((start, stop))
            reached = stop
    return kept
