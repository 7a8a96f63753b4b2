"""How much of the texts that a model writes is copied from its training data.

Two measures. The longest copied span is the longest part of a text that the training split has, in
tokens. The share of new 5-grams is that of five tokens in a row which it does not have (the novelty
of n-grams of McCoy et al. 2023, "How much do language models copy from their training data?"). The
validation split, which the model has not read, says how much of the same comes by chance: pieces of
it as long as the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.tracing.index import Index, SplitIndex

N = 5
"""Tokens of the n-grams whose novelty is counted."""


@dataclass(frozen=True)
class Copied:
    """What one text has copied."""

    tokens: int
    longest: int
    """Tokens of the longest span that the training split has."""
    longest_text: str
    longest_count: int
    """How often the training split has it."""
    first_token: int
    """The token of the text at which it begins."""
    new_ngrams: float | None
    """Share of 5-grams that the training split does not have; None for a text of fewer tokens."""


@dataclass(frozen=True)
class Memorisation:
    """What a set of texts has copied from the training split."""

    samples: list[Copied]
    n: int = N

    @property
    def longest(self) -> Copied | None:
        """The text with the longest copied span."""
        return max(self.samples, key=lambda sample: sample.longest, default=None)

    @property
    def mean_longest(self) -> float | None:
        """The mean of the texts' longest copied spans, in tokens."""
        return float(np.mean([sample.longest for sample in self.samples])) if self.samples else None

    @property
    def new_ngrams(self) -> float | None:
        """The share of new 5-grams of all texts together."""
        known = [(sample.new_ngrams, sample.tokens - N + 1) for sample in self.samples if sample.new_ngrams is not None]
        total = sum(count for _, count in known)
        return sum(share * count for share, count in known) / total if total else None


def memorisation(index: Index, tokenizer: Tokenizer, texts: Sequence[Sequence[int]]) -> Memorisation:
    """Return what texts have copied from the training split.

    Args:
        texts: their tokens, as the model wrote them, without an end-of-text token.
    """
    return Memorisation([_copied(index.train, tokenizer, np.array(text, np.int64)) for text in texts])


def validation_pieces(index: Index, end_of_text: int, count: int, length: int, seed: int) -> list[list[int]]:
    """Return pieces of the validation split, of `length` tokens each and within documents."""
    text = index.val.text
    if text.count < length:
        return []
    draw, found = np.random.default_rng(seed), []
    # A piece that would go beyond its document is drawn again; a split of short documents has none.
    for _ in range(20 * count):
        begin = int(draw.integers(text.count - length + 1))
        piece = text.tokens(begin, begin + length)
        if end_of_text not in piece:
            found.append(piece.tolist())
        if len(found) == count:
            break
    return found


def _copied(train: SplitIndex, tokenizer: Tokenizer, tokens: np.ndarray) -> Copied:
    matches = train.longest(tokens)
    lengths = np.array([match.length for match in matches], np.int64)
    begin = int(lengths.argmax()) if len(lengths) else 0
    longest = int(lengths[begin]) if len(lengths) else 0
    grams = lengths[: max(0, len(tokens) - N + 1)]
    return Copied(
        tokens=len(tokens),
        longest=longest,
        longest_text=tokenizer.decode(tokens[begin : begin + longest]),
        longest_count=matches[begin].count if longest else 0,
        first_token=begin,
        new_ngrams=float(np.mean(grams < N)) if len(grams) else None,
    )
