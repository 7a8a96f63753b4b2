"""The tokens of a split as one row: all shards of all corpora, one after another.

A position is the number of a token in this row. Knows nothing about text.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from gpt_research.data.shards import Dataset, TokenFiles


class SplitTokens:
    """The shards of a split, mapped into memory."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self.split = split
        self.files: dict[str, TokenFiles] = dataset.splits[split]
        self.shards = [(corpus, number) for corpus, files in self.files.items() for number in range(len(files.arrays))]
        """Corpus and number of each shard."""
        self.arrays = [array for files in self.files.values() for array in files.arrays]
        self.first = np.cumsum([0, *(len(array) for array in self.arrays)], dtype=np.int64)
        """(S + 1,) int64, the first position of each shard, and the end."""

    @property
    def count(self) -> int:
        return int(self.first[-1])

    @property
    def is_short(self) -> bool:
        """True if tokens have 16 bits, False if they have 32."""
        return all(array.dtype.itemsize == 2 for array in self.arrays)

    @cached_property
    def addresses(self) -> np.ndarray:
        """(S,) uint64, where each shard lies in memory."""
        return np.array([array.ctypes.data for array in self.arrays], dtype=np.uint64)

    def place(self, position: int) -> tuple[int, int]:
        """Return the index of the shard that holds a position, and the token's index in it."""
        shard = int(np.searchsorted(self.first, position, side="right")) - 1
        return shard, position - int(self.first[shard])

    def pieces(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the tokens from `start` to before `stop`, shard by shard."""
        while start < stop:
            shard, inside = self.place(start)
            piece = self.arrays[shard][inside : inside + stop - start]
            yield piece
            start += len(piece)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """Return the tokens from `start` to before `stop`, (stop - start,) int64."""
        pieces = [piece.astype(np.int64) for piece in self.pieces(start, stop)]
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)
