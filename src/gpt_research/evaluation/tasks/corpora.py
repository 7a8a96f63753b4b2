"""Loss on a data set, document by document.

Windows are those of training's own evaluation (`dataloader.evaluation_batches`): each token but the first of a shard
is scored once. A document goes from one end-of-text token to the next. Where only a part is taken, windows do not
follow each other, and what a window holds of a document counts as one.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict

import numpy as np

from gpt_research.data.loader import evaluation_batches
from gpt_research.data.shards import Dataset
from gpt_research.evaluation.evaluated_model import Subject
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.scoring import Window, score


def measure(subject: Subject, dataset: Dataset, name: str, split: str, max_tokens: int = 0) -> Result:
    """Return the loss on a corpus of `dataset`, opened for the subject's context.

    Args:
        max_tokens: about so many, evenly spread; 0 takes all.
    """
    files = dataset.splits[split][name]
    batches = -(-min(max_tokens or math.inf, files.num_tokens) // (subject.context * subject.batch_size))
    advance = subject.progress(name, int(batches))
    documents = _Documents(subject.tokenizer.end_of_text)
    for tokens, targets in evaluation_batches(files, max_tokens or None, subject.batch_size):
        windows = []
        for row, wanted in zip(tokens.numpy(), targets.numpy(), strict=True):
            length = int((wanted >= 0).sum())
            if length:
                windows.append(Window(np.append(row[:length], wanted[length - 1]), length))
        scores = score(subject.model, windows, subject.runtime, subject.batch_size * subject.context)
        for window, found in zip(windows, scores, strict=True):
            documents.add(np.asarray(window.tokens), found.nats)
        advance(1)
    owner, nats, scored = documents.joined()
    columns = {
        "nats": np.bincount(owner, nats),
        "tokens": np.bincount(owner),
        "bytes": np.bincount(owner, subject.tokenizer.byte_lengths[scored]),
    }
    shards = [asdict(shard) for shard in dataset.manifests[name].splits.get(split, [])]
    taken = [shards, max_tokens, subject.context if max_tokens else 0]
    items = hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()
    facts = {"context": subject.context, "items_sha256": items, "unit": "documents"}
    return Result(f"corpora/{name}", columns, facts)


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
