"""The documents of a task between reading and sharding: their tokens, and where each came from.

Texts are encoded when they are read, so that no text has to be written and read again. Which
documents stay, and in which split, is known only after all tasks were read. But a document's hash
gives its split unless the document is a copy. So the tokens of each split are a file of their own,
and if all of its documents stay, that file becomes the shard as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpt_research.base.errors import UserError
from gpt_research.base.files import written_whole
from gpt_research.data.shards import Shard, token_dtype
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.shard_writer import TokenFile, adopt_shard, token_file, write_shard
from gpt_research.preprocessing.text.arrow import integers, numbers
from gpt_research.preprocessing.text.batches import Batch, place_of
from gpt_research.preprocessing.work_folder import WorkFolder

SPLITS = ("train", "val")
_BLOCK = 1 << 19
"""Tokens copied at once."""
_ROWS = pa.schema(
    [
        ("split", pa.int64()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("source", pa.string()),
        ("position", pa.int64()),
    ]
)
"""A row for each document: its split as an index in `SPLITS`, its tokens with the end-of-text
token, the bytes of its text, and where it came from. Metadata: the type of the tokens, and the
SHA-256 of each split's file by its name."""


class EncodedWriter:
    """Encodes the documents of a task, in order.

    It is a context manager: the files get their names only if its block succeeds.
    """

    def __init__(self, work: WorkFolder, rank: int, tokenizer: Tokenizer) -> None:
        self._work, self._rank, self._tokenizer = work, rank, tokenizer
        self._open_files = contextlib.ExitStack()
        self._files: dict[str, TokenFile] = {}
        self._rows: list[pa.RecordBatch] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open_files.__exit__(kind, error, trace)
        if error is None:
            self._write_rows()

    def add(self, documents: Batch, splits: np.ndarray) -> int:
        """Encode documents and append each, with an end-of-text token, to one of `SPLITS`.

        Args:
            splits: (n,) the index of each document's split.

        Returns:
            The number of tokens appended.

        Raises:
            UserError: a text has a character that a vocabulary of characters lacks.
        """
        texts = documents.to_strings()
        try:
            tokens, lengths = encode_with_ends(self._tokenizer, texts)
        except UserError as error:
            row = next(row for row, text in enumerate(texts) if self._tokenizer.known_part(text) != text)
            source, position = place_of(documents.rows, row)
            raise UserError(f"{source} ({position}): {error}") from None
        # Consecutive documents of one split are written at once.
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        for first, last in runs(splits[1:] != splits[:-1]):
            self._file(SPLITS[splits[first]]).write(tokens[bounds[first] : bounds[last]])
        self._rows.append(
            pa.record_batch(
                {
                    "split": integers(splits),
                    "tokens": integers(lengths),
                    "bytes": pc.cast(pc.binary_length(documents.texts), pa.int64()),
                    "source": pc.cast(documents.rows["source"], pa.string()),
                    "position": documents.rows["position"],
                }
            )
        )
        return len(tokens)

    def source_of(self, row: int) -> tuple[str, int]:
        """Return source and position of a document that was added."""
        for batch in self._rows:
            if row < len(batch):
                return place_of(batch, row)
            row -= len(batch)
        raise IndexError(row)

    def _file(self, split: str) -> TokenFile:
        if split not in self._files:
            path = self._work.path("tokens", self._rank, f"{split}.bin")
            self._files[split] = self._open_files.enter_context(token_file(path))
        return self._files[split]

    def _write_rows(self) -> None:
        metadata = {"dtype": token_dtype(self._tokenizer.vocab_size).str}
        metadata |= {split: file.sha256 for split, file in self._files.items()}
        schema = _ROWS.with_metadata(metadata)
        with (
            written_whole(self._work.path("documents", self._rank, "arrow")) as part,
            pa.OSFile(str(part), "wb") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            for batch in self._rows:
                writer.write_batch(batch)


def encode_with_ends(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens (m,) of texts with their end-of-text tokens, and counts (n,) int64."""
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
    """The documents of a task, as an `EncodedWriter` left them."""

    def __init__(self, work: WorkFolder, rank: int) -> None:
        self._work, self._rank = work, rank
        with pa.memory_map(str(work.path("documents", rank, "arrow"))) as file:
            rows = pa.ipc.open_file(file).read_all()
        self.rows = rows.replace_schema_metadata(None)
        metadata = {key.decode(): value.decode() for key, value in rows.schema.metadata.items()}
        self._dtype, self._sha256 = np.dtype(metadata.pop("dtype")), metadata
        self._splits, lengths = numbers(self.rows["split"]), numbers(self.rows["tokens"])
        self._starts = np.empty(len(self.rows), dtype=np.int64)
        for split in range(len(SPLITS)):
            mine = self._splits == split
            self._starts[mine] = np.cumsum(lengths[mine]) - lengths[mine]
        self._stops = self._starts + lengths

    def tokens(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the tokens of some documents in their order, in pieces of bounded size."""
        splits, starts, stops = self._splits[rows], self._starts[rows], self._stops[rows]
        for first, last in runs((splits[1:] != splits[:-1]) | (starts[1:] != stops[:-1])):
            yield from self._read(SPLITS[splits[first]], int(starts[first]), int(stops[last - 1]))

    def write_shard(self, folder: Path, number: int, split: int, rows: np.ndarray) -> Shard:
        """Write shard `number` of a split from some of the documents.

        Args:
            split: its index in `SPLITS`.
            rows: (n,) the documents, in order.
        """
        documents, name = self.rows.take(integers(rows)).drop_columns("split"), SPLITS[split]
        # If all documents of a split stay, the file of their tokens is the shard already.
        if np.array_equal(rows, np.flatnonzero(self._splits == split)):
            return adopt_shard(folder, f"{name}_{number:05d}", self._path(name), self._sha256[name], documents)
        return write_shard(folder, f"{name}_{number:05d}", self.tokens(rows), documents)

    def _read(self, split: str, start: int, stop: int) -> Iterator[np.ndarray]:
        with open(self._path(split), "rb") as file:
            file.seek(start * self._dtype.itemsize)
            while start < stop:
                tokens = np.fromfile(file, self._dtype, min(_BLOCK, stop - start))
                if not len(tokens):
                    raise OSError(f"{file.name} is too short")
                yield tokens
                start += len(tokens)

    def _path(self, split: str) -> Path:
        return self._work.path("tokens", self._rank, f"{split}.bin")


def runs(breaks: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first index and the end of each run of n >= 1 things.

    Args:
        breaks: (n - 1,) bool, true where a run ends between a thing and the next one.
    """
    return pairwise([0, *(np.flatnonzero(breaks) + 1).tolist(), len(breaks) + 1])
