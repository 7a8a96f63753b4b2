"""The loss on each document of the validation split, and at each position of the context.

The split is read in the windows of training's own validation, in small batches, so that a server
may answer other questions between them. Documents and positions cost one pass together. The result
is kept in the run folder (`document_losses/step_00000720.npz`), with what it was computed from.

Shapes: D documents, T = the context.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F

from gpt_research.base.errors import not_finite
from gpt_research.base.files import written_whole
from gpt_research.checkpoint.files import saved_steps
from gpt_research.data.documents import Documents
from gpt_research.data.loader import evaluation_windows
from gpt_research.data.shards import TokenFiles
from gpt_research.evaluation.windows import rolling_windows
from gpt_research.inspection.readout import LOGIT_BYTES

if TYPE_CHECKING:
    from gpt_research.model.gpt import GPT
    from gpt_research.run import Run

MOST_TOKENS = 1 << 21
"""Tokens of each corpus that are read; of a larger one, windows spread evenly over it."""
BATCH_TOKENS = 1024
FOLDER = "document_losses"


@dataclass(frozen=True)
class CorpusLosses:
    """Sums over the scored tokens of each document, (D,) each."""

    nats: np.ndarray
    scored: np.ndarray
    """Tokens."""
    bytes: np.ndarray
    """Of the scored tokens' text."""


@dataclass(frozen=True)
class ValidationLosses:
    """What a checkpoint makes of the validation split."""

    corpora: Mapping[str, CorpusLosses]
    position_nats: np.ndarray
    """(T,): sum at each position; position 0 predicts the second token of a window."""
    position_tokens: np.ndarray
    """(T,)."""


class ValidationPass:
    """One pass over the validation split, batch by batch."""

    def __init__(self, run: Run, documents: Documents, files: Mapping[str, TokenFiles]) -> None:
        """Begin.

        Args:
            documents: those of the data set.
            files: its validation split by corpus, opened with the model's context as block size.
        """
        self._model, self._byte_lengths = run.model, run.tokenizer.byte_lengths
        self._documents, self._files = documents, files
        T = run.model.config.block_size
        self._position_nats, self._position_tokens = np.zeros(T), np.zeros(T, np.int64)
        self._corpora = {
            name: CorpusLosses(*(np.zeros(documents.count(name, "val"), kind) for kind in (float, int, int)))
            for name in files
        }
        self._windows = {name: evaluation_windows(each, MOST_TOKENS) for name, each in files.items()}
        self.windows = sum(map(len, self._windows.values()))
        self.done = 0
        """Windows that were read, of `windows`."""
        self._batches = self._all_batches()

    def advance(self) -> bool:
        """Read the next batch; return whether there was one.

        Raises:
            UserError: the model's output is not finite, or an index is damaged.
        """
        batch = next(self._batches, None)
        if batch is None:
            return False
        name, shard, starts = batch
        self._read(name, shard, starts)
        self.done += len(starts)
        return True

    def result(self) -> ValidationLosses:
        return ValidationLosses(self._corpora, self._position_nats, self._position_tokens)

    def _all_batches(self) -> Iterator[tuple[str, int, list[int]]]:
        """Yield corpus, shard and the first tokens of the windows of each batch."""
        rows = max(1, BATCH_TOKENS // self._model.config.block_size)
        for name, files in self._files.items():
            number = {id(array): shard for shard, array in enumerate(files.arrays)}
            by_shard: dict[int, list[int]] = {}
            for array, start in self._windows[name]:
                by_shard.setdefault(number[id(array)], []).append(start)
            for shard, starts in by_shard.items():
                for first in range(0, len(starts), rows):
                    yield name, shard, starts[first : first + rows]

    def _read(self, name: str, shard: int, starts: Sequence[int]) -> None:
        array, T = self._files[name].arrays[shard], self._model.config.block_size
        sequences, lengths = np.zeros((len(starts), T + 1), np.int64), []
        for row, start in enumerate(starts):
            window = array[start : start + T + 1]
            sequences[row, : len(window)] = window
            lengths.append(len(window) - 1)
        held = np.arange(T) < np.array(lengths)[:, None]  # (B, T): positions with a target
        nats = token_nats(self._model, sequences[:, :-1], sequences[:, 1:])
        nats, targets = nats[held], sequences[:, 1:][held]
        positions = np.broadcast_to(np.arange(T), held.shape)[held]
        self._position_nats += np.bincount(positions, nats, minlength=T)
        self._position_tokens += np.bincount(positions, minlength=T)
        # The place of each target in its shard says which document it is of.
        places = (np.array(starts)[:, None] + np.arange(1, T + 1))[held]
        begins = self._documents.index((name, "val", shard))["start"].to_numpy()
        before = sum(earlier.documents for earlier in self._documents.shards(name, "val")[:shard])
        owner = before + np.searchsorted(begins, places, side="right") - 1
        corpus = self._corpora[name]
        for sums, values in ((corpus.nats, nats), (corpus.scored, 1), (corpus.bytes, self._byte_lengths[targets])):
            np.add.at(sums, owner, values)


@torch.no_grad()
def token_nats(model: GPT, tokens: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return -ln p of `targets` (B, T) after `tokens` (B, T), in fp32.

    Raises:
        UserError: the model's output is not finite.
    """
    device = model.token_embedding.weight.device
    h = model.hidden(torch.from_numpy(tokens).to(device)).flatten(0, 1)
    wanted = torch.from_numpy(targets).to(device).flatten()
    rows = max(1, LOGIT_BYTES // (4 * model.config.padded_vocab_size))
    pairs = zip(h.split(rows), wanted.split(rows), strict=True)
    nats = torch.cat([F.cross_entropy(model.logits(part).float(), those, reduction="none") for part, those in pairs])
    if not torch.isfinite(nats).all():
        raise not_finite("it has no loss")
    return nats.double().cpu().numpy().reshape(targets.shape)


def read_losses(run: Run, data: str) -> ValidationLosses | None:
    """Return the losses that were kept for a checkpoint and a data set (its fingerprint); None if
    there are none, or they are of other weights or data.
    """
    try:
        with open(_path(run), "rb") as file, np.load(file, allow_pickle=False) as kept:
            if json.loads(str(kept["of"])) != _computed_from(run, data):
                return None
            names = json.loads(str(kept["corpora"]))
            corpora = {
                name: CorpusLosses(*(kept[f"{column}/{number}"] for column in ("nats", "scored", "bytes")))
                for number, name in enumerate(names)
            }
            return ValidationLosses(corpora, kept["position_nats"], kept["position_tokens"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def keep_losses(run: Run, data: str, losses: ValidationLosses) -> None:
    """Keep losses in the run folder, if it can be written to; drop those of steps that are gone."""
    path = _path(run)
    columns = {
        f"{column}/{number}": getattr(corpus, column)
        for number, corpus in enumerate(losses.corpora.values())
        for column in ("nats", "scored", "bytes")
    }
    about = {"of": json.dumps(_computed_from(run, data)), "corpora": json.dumps(list(losses.corpora))}
    positions = {"position_nats": losses.position_nats, "position_tokens": losses.position_tokens}
    # A run folder on a read-only disk keeps nothing; then the caller has the losses in memory.
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with written_whole(path) as unfinished, open(unfinished, "wb") as file:
            arrays: dict[str, Any] = {name: np.array(text) for name, text in about.items()} | positions | columns
            np.savez_compressed(file, **arrays)
        there = {_path(run, step).name for step in saved_steps(run.folder)}
        for other in path.parent.glob("step_*.npz"):
            if other.name not in there:
                other.unlink()


def _path(run: Run, step: int | None = None) -> Path:
    return run.folder / FOLDER / f"step_{run.step if step is None else step:08d}.npz"


def _computed_from(run: Run, data: str) -> dict[str, object]:
    return {"weights": run.weights_sha256, "data": data, "most_tokens": MOST_TOKENS, "version": 1}


def token_losses(model: GPT, tokens: Sequence[int], first: int) -> np.ndarray:
    """Return -ln p of the tokens from `first` on, each with what a window holds before it; empty if
    there are none.
    """
    nats = [np.empty(0)]
    for window in rolling_windows(tokens, first, model.config.block_size):
        ids = np.asarray(window.tokens, dtype=np.int64)
        nats.append(token_nats(model, ids[None, :-1], ids[None, 1:])[0, -window.scored :])
    return np.concatenate(nats)
