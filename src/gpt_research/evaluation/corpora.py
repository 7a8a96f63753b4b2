"""The loss on each document of a data set.

The windows are the ones that training uses for its own validation
(`data.loader.evaluation_batches`): each token is scored once, except the first token of a shard. A
document reaches from one end-of-text token to the next. If `max_tokens` takes only a part, there
are gaps between the windows. The pieces of a document that lie in several windows still count as
one document.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from gpt_research.data.loader import evaluation_batches, evaluation_windows
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.windows import Scores, Window

PIECE = 1 << 14
"""Tokens of a gap that are looked at together."""


@dataclass(frozen=True)
class CorpusPart:
    """The part of a corpus that is measured."""

    dataset: Dataset
    """The data set, opened with the model's context as its block size."""
    corpus: str
    split: str
    max_tokens: int = 0
    """Measure about this many tokens, spread evenly over the corpus; 0 measures all."""

    def sha256(self, context: int) -> str:
        """Return a hash that is equal for two measurements of the same documents."""
        shards = [asdict(shard) for shard in self.dataset.manifests[self.corpus].splits.get(self.split, [])]
        taken = [shards, self.max_tokens, context if self.max_tokens else 0]
        if self.max_tokens:
            taken.append("whole documents")  # older results count the pieces of a document one by one
        return hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()


class Scorer(Protocol):
    """What is asked of a model. `evaluated_model.EvaluatedModel` implements it."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def context(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def progress(self) -> Callable[[int], Callable[[int], object]]: ...
    @property
    def quiet(self) -> Scorer: ...
    def score(self, windows: Sequence[Window]) -> list[Scores]: ...


def measure(model: Scorer, part: CorpusPart) -> dict[str, np.ndarray]:
    """Return the columns nats, tokens and bytes, each (documents,)."""
    files = part.dataset.splits[part.split][part.corpus]
    tokens_in_all = min(part.max_tokens or math.inf, files.num_tokens)
    advance = model.progress(int(-(-tokens_in_all // (model.context * model.batch_size))))
    # Progress is reported in batches of the corpus here, so the windows of a batch report none.
    quiet = model.quiet
    documents = _Documents(model.tokenizer.end_of_text)
    places = iter(evaluation_windows(files, part.max_tokens or None))
    for tokens, targets in evaluation_batches(files, part.max_tokens or None, model.batch_size):
        windows = []
        for row, wanted in zip(tokens.numpy(), targets.numpy(), strict=True):
            length = int((wanted >= 0).sum())
            if length:
                windows.append(Window(np.append(row[:length], wanted[length - 1]), length))
        for window, scores in zip(windows, quiet.score(windows), strict=True):
            documents.add(*next(places), np.asarray(window.tokens), scores.nats)
        advance(1)
    owner, nats, scored = documents.joined()
    return {
        "nats": np.bincount(owner, nats),
        "tokens": np.bincount(owner),
        "bytes": np.bincount(owner, model.tokenizer.byte_lengths[scored]),
    }


class _Documents:
    """Numbers the documents that scored tokens belong to."""

    def __init__(self, end_of_text: int) -> None:
        self.end_of_text = end_of_text
        self.shard: np.ndarray | None = None
        self.last = 0
        """Place of the last token of the newest window in its shard."""
        self.current = -1
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, shard: np.ndarray, start: int, tokens: np.ndarray, nats: np.ndarray) -> None:
        """Add the next window: its shard and place there, its tokens (T + 1,), and the nats (T,) of
        all but the first.
        """
        begun = np.cumsum(tokens[:-1] == self.end_of_text)
        goes_on = shard is self.shard and not self._ends_between(shard, self.last, start)
        owner = self.current + (0 if goes_on else 1) + begun
        self.parts.append((owner, nats, tokens[1:]))
        self.shard, self.last, self.current = shard, start + len(tokens) - 1, int(owner[-1])

    def _ends_between(self, shard: np.ndarray, first: int, end: int) -> bool:
        """Return whether a document ends in tokens [first, end) of a shard."""
        # Most gaps hold an end soon, so most of a large corpus is not read.
        pieces = (shard[at : min(at + PIECE, end)] for at in range(first, end, PIECE))
        return any((piece == self.end_of_text).any() for piece in pieces)

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return three arrays (scored tokens,): number of the document, nats, and token.

        The documents are numbered from 0 without gaps: one with no scored token gets no number.
        """
        owner, nats, tokens = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return np.unique(owner, return_inverse=True)[1], nats, tokens
