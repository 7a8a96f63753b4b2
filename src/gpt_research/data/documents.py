"""The documents of a data set: lists of them, and the tokens of each.

A document has a number among those of its corpus and split, over all shards in order. Only the
document indexes of the shards that are asked for are read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.base.errors import UserError, closest
from gpt_research.data.shards import DOCUMENT_COLUMNS, Manifest, Shard, index_path

KEPT_INDEXES = 4
"""Document indexes that stay in memory."""
Order = Literal["order", "longest", "shortest"]
Place = tuple[str, str, int]
"""Corpus, split, and number of a shard among those of the split."""


@dataclass(frozen=True)
class Document:
    """A document, and where it stands."""

    corpus: str
    split: str
    number: int
    """Among the documents of the corpus and split."""
    shard: int
    """Number of its shard in the corpus and split."""
    start: int
    """Its first token in the shard."""
    tokens: int
    """With the end-of-text token."""
    bytes: int
    """Of its text in UTF-8."""
    source: str
    """Source file; `!` comes before a member of an archive."""
    position: int
    """In its source: row, page, message or byte offset."""


class Documents:
    """The documents of a data set. Several threads may ask.

    Args:
        corpora: folder and manifest of each corpus, as `shards.read_manifests` returns them.
    """

    def __init__(self, corpora: Mapping[str, tuple[Path, Manifest]]) -> None:
        self.corpora = corpora
        self._indexes: OrderedDict[Place, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def shards(self, corpus: str, split: str) -> Sequence[Shard]:
        """Return the shards of a corpus and split.

        Raises:
            UserError: there is no such corpus.
        """
        if corpus not in self.corpora:
            known = ", ".join(self.corpora)
            raise UserError(f'There is no corpus "{corpus}", only {known}.{closest(corpus, self.corpora)}')
        return self.corpora[corpus][1].splits.get(split, [])

    def count(self, corpus: str, split: str) -> int:
        return sum(shard.documents for shard in self.shards(corpus, split))

    def get(self, corpus: str, split: str, numbers: Sequence[int]) -> list[Document]:
        """Return documents by their numbers, in the order in which they are asked for.

        Raises:
            UserError: there is no such corpus or document, or an index is damaged.
        """
        shards, found = self.shards(corpus, split), {}
        first = np.concatenate([[0], np.cumsum([shard.documents for shard in shards])])
        for number in sorted(set(numbers)):
            if not 0 <= number < first[-1]:
                raise UserError(f"There is no document {number}: {corpus} has {first[-1]:,} in {split}, from 0 on.")
            shard = int(np.searchsorted(first, number, side="right")) - 1
            row = self.index((corpus, split, shard)).slice(number - int(first[shard]), 1).to_pylist()[0]
            found[number] = Document(corpus, split, number, shard, **row)
        return [found[number] for number in numbers]

    def page(
        self, corpus: str, split: str, begin: int, count: int, order: Order = "order", source: str = ""
    ) -> tuple[list[Document], int]:
        """Return some documents of a corpus and split, and how many there are in all.

        Args:
            begin: how many come before them.
            order: as they lie, or by their tokens.
            source: only those with this text in the name of their source; capital or small letters.

        Raises:
            UserError: there is no such corpus, or an index is damaged.
        """
        if order == "order" and not source:
            total = self.count(corpus, split)
            return self.get(corpus, split, range(min(begin, total), min(begin + count, total))), total
        tokens, kept, before = [], [], 0
        for number, shard in enumerate(self.shards(corpus, split)):
            index = self.index((corpus, split, number))
            if source:
                matches = pc.match_substring(index["source"], source, ignore_case=True)
                rows = np.flatnonzero(matches.to_numpy(zero_copy_only=False))
            else:
                rows = np.arange(len(index))
            tokens.append(index["tokens"].to_numpy()[rows])
            kept.append(rows + before)
            before += shard.documents
        numbers = np.concatenate(kept) if kept else np.empty(0, np.int64)
        if order != "order" and len(numbers):
            lengths = np.concatenate(tokens).astype(np.int64)
            numbers = numbers[np.argsort(lengths if order == "shortest" else -lengths, kind="stable")]
        return self.get(corpus, split, numbers[begin : begin + count].tolist()), len(numbers)

    def containing(self, place: Place, token: int) -> Document:
        """Return the document that holds a token of a shard.

        Raises:
            UserError: the index of the shard is damaged.
        """
        corpus, split, shard = place
        row = int(np.searchsorted(self.index(place)["start"].to_numpy(), token, side="right")) - 1
        before = sum(earlier.documents for earlier in self.shards(corpus, split)[:shard])
        return self.get(corpus, split, [before + row])[0]

    def tokens(self, document: Document, begin: int = 0, count: int | None = None) -> np.ndarray:
        """Return tokens of a document, from `begin` on; by default all.

        Raises:
            UserError: the shard cannot be read.
        """
        end = document.tokens if count is None else min(document.tokens, begin + count)
        place = document.corpus, document.split, document.shard
        return self.shard_tokens(place, document.start + begin, document.start + max(begin, end))

    def shard_tokens(self, place: Place, start: int, stop: int) -> np.ndarray:
        """Return tokens of a shard.

        Raises:
            UserError: the shard cannot be read.
        """
        corpus, split, number = place
        folder, manifest = self.corpora[corpus]
        shard, dtype = manifest.splits[split][number], manifest.token_type
        try:
            with open(folder / shard.path, "rb") as file:
                return np.fromfile(file, dtype, stop - start, offset=shard.header_bytes + start * dtype.itemsize)
        except OSError as error:
            raise UserError(f"Shard {folder / shard.path} cannot be read ({error}). Put it back.") from None

    def index(self, place: Place) -> pa.Table:
        """Return the document index of a shard.

        Raises:
            UserError: it cannot be read.
        """
        with self._lock:
            if place not in self._indexes:
                self._indexes[place] = self._read_index(place)
                if len(self._indexes) > KEPT_INDEXES:
                    self._indexes.popitem(last=False)
            self._indexes.move_to_end(place)
            return self._indexes[place]

    def _read_index(self, place: Place) -> pa.Table:
        corpus, split, number = place
        folder, manifest = self.corpora[corpus]
        path = index_path(folder, manifest.splits[split][number])
        try:
            return pq.read_table(path, columns=list(DOCUMENT_COLUMNS)).combine_chunks()
        except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
            raise UserError(
                f"The document index {path} cannot be read ({str(error)[:100]}). Run preprocessing again."
            ) from None
