"""The loss on each document of a data set.

The windows are the ones that training uses for its own validation
(`data.loader.evaluation_batches`): each token is scored once, except the first token of a shard. A
document reaches from one end-of-text token to the next. If `max_tokens` takes only a part, there
are gaps between the windows; then each piece of a document that lies in a window counts as a
document.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from gpt_research.data.loader import evaluation_batches
from gpt_research.data.shards import Dataset
from gpt_research.evaluation.evaluated_model import EvaluatedModel, no_progress
from gpt_research.evaluation.windows import Window


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
        return hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()


def measure(model: EvaluatedModel, part: CorpusPart) -> dict[str, np.ndarray]:
    """Return the columns nats, tokens and bytes, each (documents,)."""
    files = part.dataset.splits[part.split][part.corpus]
    tokens_in_all = min(part.max_tokens or math.inf, files.num_tokens)
    advance = model.progress(int(-(-tokens_in_all // (model.context * model.batch_size))))
    # Progress is reported in batches of the corpus here, so the windows of a batch report none.
    quiet = replace(model, progress=no_progress)
    documents = _Documents(model.tokenizer.end_of_text)
    for tokens, targets in evaluation_batches(files, part.max_tokens or None, model.batch_size):
        windows = []
        for row, wanted in zip(tokens.numpy(), targets.numpy(), strict=True):
            length = int((wanted >= 0).sum())
            if length:
                windows.append(Window(np.append(row[:length], wanted[length - 1]), length))
        for window, scores in zip(windows, quiet.score(windows), strict=True):
            documents.add(np.asarray(window.tokens), scores.nats)
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
        self.last_token = -1
        self.current = -1
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, tokens: np.ndarray, nats: np.ndarray) -> None:
        """Add the next window: its tokens (T + 1,), and the nats (T,) of all but the first."""
        # Two windows that follow each other share a token. The windows of two shards never do,
        # because a shard ends with an end-of-text token and does not begin with one.
        follows = tokens[0] == self.last_token
        begun = np.cumsum(tokens[:-1] == self.end_of_text)
        owner = self.current + (0 if follows else 1) + begun
        self.parts.append((owner, nats, tokens[1:]))
        self.current, self.last_token = int(owner[-1]), int(tokens[-1])

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return three arrays (scored tokens,): number of the document, nats, and token.

        The documents are numbered from 0 without gaps: one with no scored token gets no number.
        """
        owner, nats, tokens = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return np.unique(owner, return_inverse=True)[1], nats, tokens
