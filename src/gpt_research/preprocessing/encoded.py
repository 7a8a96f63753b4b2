"""The documents of a task from reading to sharding: their tokens, and where each came from.

Texts are encoded as they are read, so that no text is written to be read again. Which documents stay, and in which
split, is known only when all tasks are read. But the hash of a document says where it will be unless it is a copy: the
tokens of each side are a file of its own, which becomes the shard as it is if all that it holds stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpt_research.data.shards import Shard, token_dtype
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.plan import Work
from gpt_research.preprocessing.shard_writer import TokenFile, adopt_shard, write_shard
from gpt_research.preprocessing.text.arrow import integers, numbers
from gpt_research.preprocessing.text.batches import Batch, place_of

SPLITS = ("train", "val")
_BLOCK = 1 << 19
"""Tokens copied at once."""
_ROWS = pa.schema(
    [
        ("side", pa.int64()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("source", pa.string()),
        ("position", pa.int64()),
    ]
)
"""A row for each document: the side of which it is, by index in `SPLITS`, tokens with the end-of-text token, bytes of
text, and where it came from. Metadata: type of the tokens, and SHA-256 of each side's file by its name."""


class EncodedWriter:
    """Encodes the documents of a task, in order."""

    def __init__(self, work: Work, rank: int, tokenizer: Tokenizer) -> None:
        self._work, self._rank, self._tokenizer = work, rank, tokenizer
        self._files: dict[str, TokenFile] = {}
        self._rows: list[pa.RecordBatch] = []

    def add(self, documents: Batch, sides: np.ndarray) -> int:
        """Encode documents and append each, with an end-of-text token, to one of `SPLITS`.

        Args:
            sides: (n,) its index.

        Returns:
            How many tokens they are.
        """
        tokens, lengths = encode_with_ends(self._tokenizer, documents.to_strings())
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        for first, last in runs(sides[1:] != sides[:-1]):
            self._file(SPLITS[sides[first]]).write(tokens[bounds[first] : bounds[last]])
        self._rows.append(
            pa.record_batch(
                {
                    "side": integers(sides),
                    "tokens": integers(lengths),
                    "bytes": pc.cast(pc.binary_length(documents.texts), pa.int64()),
                    "source": pc.cast(documents.rows["source"], pa.string()),
                    "position": documents.rows["position"],
                }
            )
        )
        return len(tokens)

    def place(self, row: int) -> tuple[str, int]:
        """Return source and position of a document that was added."""
        for batch in self._rows:
            if row < len(batch):
                return place_of(batch, row)
            row -= len(batch)
        raise IndexError(row)

    def finish(self) -> None:
        """Give the files their names."""
        about = {"dtype": token_dtype(self._tokenizer.vocab_size).str}
        about |= {side: file.finish() for side, file in self._files.items()}
        path = self._work.path("documents", self._rank, "arrow")
        part = path.with_name(path.name + ".part")
        with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, _ROWS.with_metadata(about)) as writer:
            for batch in self._rows:
                writer.write_batch(batch)
        part.replace(path)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _file(self, side: str) -> TokenFile:
        if side not in self._files:
            self._files[side] = TokenFile(self._work.path("tokens", self._rank, f"{side}.bin"))
        return self._files[side]


def encode_with_ends(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of texts (m,), each with an end-of-text token, and each text's count (n,) int64."""
    tokens, lengths = tokenizer.encode_batch(texts)
    lengths += 1
    out = np.empty(int(lengths.sum()), dtype=token_dtype(tokenizer.vocab_size))
    ends = np.cumsum(lengths) - 1
    inside = np.ones(len(out), dtype=bool)
    inside[ends] = False
    out[ends] = tokenizer.end_of_text
    out[inside] = tokens
    return out, lengths


class EncodedDocuments:
    """What an `EncodedWriter` has left."""

    def __init__(self, work: Work, rank: int) -> None:
        self._work, self._rank = work, rank
        with pa.memory_map(str(work.path("documents", rank, "arrow"))) as file:
            rows = pa.ipc.open_file(file).read_all()
        self.rows = rows.replace_schema_metadata(None)
        about = {key.decode(): value.decode() for key, value in rows.schema.metadata.items()}
        self._dtype, self._sha256 = np.dtype(about.pop("dtype")), about
        self._sides, lengths = numbers(self.rows["side"]), numbers(self.rows["tokens"])
        self._starts = np.empty(len(self.rows), dtype=np.int64)
        for side in range(len(SPLITS)):
            mine = self._sides == side
            self._starts[mine] = np.cumsum(lengths[mine]) - lengths[mine]
        self._stops = self._starts + lengths

    def tokens(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the tokens of some documents in their order, in pieces of bounded size."""
        sides, starts, stops = self._sides[rows], self._starts[rows], self._stops[rows]
        for first, last in runs((sides[1:] != sides[:-1]) | (starts[1:] != stops[:-1])):
            yield from self._read(SPLITS[sides[first]], int(starts[first]), int(stops[last - 1]))

    def write_shard(self, folder: Path, number: int, side: int, rows: np.ndarray) -> Shard:
        """Write shard `number` of a split from some of the documents.

        Args:
            side: its index in `SPLITS`.
            rows: (n,) the documents, in order.
        """
        split, documents = SPLITS[side], self.rows.take(integers(rows)).drop_columns("side")
        name = f"{split}_{number:05d}"
        if np.array_equal(rows, np.flatnonzero(self._sides == side)):
            return adopt_shard(folder, name, self._path(split), self._sha256[split], documents)
        return write_shard(folder, name, self.tokens(rows), documents)

    def _read(self, side: str, start: int, stop: int) -> Iterator[np.ndarray]:
        with open(self._path(side), "rb") as file:
            file.seek(start * self._dtype.itemsize)
            while start < stop:
                tokens = np.fromfile(file, self._dtype, min(_BLOCK, stop - start))
                if not len(tokens):
                    raise OSError(f"{file.name} is too short")
                yield tokens
                start += len(tokens)

    def _path(self, side: str) -> Path:
        return self._work.path("tokens", self._rank, f"{side}.bin")


def runs(breaks: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield first and end of each run, where `breaks` (n - 1,) says between which of n >= 1 things one ends."""
    return pairwise([0, *(np.flatnonzero(breaks) + 1).tolist(), len(breaks) + 1])
