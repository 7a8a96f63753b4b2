"""Loss on a data set, document by document.

Windows are those of training's own evaluation (`data.loader.evaluation_batches`): each token but the first of a shard
is scored once. A document goes from one end-of-text token to the next. Where only a part is taken, windows do not
follow each other, and what a window holds of a document counts as one.
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
    """Opened for the model's context."""
    corpus: str
    split: str
    max_tokens: int = 0
    """About so many tokens, evenly spread; 0 takes all."""

    def sha256(self, context: int) -> str:
        """Return a hash that is the same if the same documents are measured."""
        shards = [asdict(shard) for shard in self.dataset.manifests[self.corpus].splits.get(self.split, [])]
        taken = [shards, self.max_tokens, context if self.max_tokens else 0]
        return hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()


def measure(model: EvaluatedModel, part: CorpusPart) -> dict[str, np.ndarray]:
    """Return nats, tokens and bytes of each document."""
    files = part.dataset.splits[part.split][part.corpus]
    tokens_in_all = min(part.max_tokens or math.inf, files.num_tokens)
    advance = model.progress(int(-(-tokens_in_all // (model.context * model.batch_size))))
    quiet = replace(model, progress=no_progress)  # the bar counts batches of the corpus, not windows
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
    """Numbers the documents of windows that come in order."""

    def __init__(self, end_of_text: int) -> None:
        self.end_of_text = end_of_text
        self.last_token = -1
        self.current = -1
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, tokens: np.ndarray, nats: np.ndarray) -> None:
        """Take a window's tokens (T + 1,) and the nats of all but its first (T,)."""
        follows = tokens[0] == self.last_token  # neighbours share one token; a shard never begins as one ended
        begun = np.cumsum(tokens[:-1] == self.end_of_text)
        owner = self.current + (0 if follows else 1) + begun
        self.parts.append((owner, nats, tokens[1:]))
        self.current, self.last_token = int(owner[-1]), int(tokens[-1])

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return document, nats and token of every place that was scored; numbers without a token left out."""
        owner, nats, tokens = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return np.unique(owner, return_inverse=True)[1], nats, tokens
