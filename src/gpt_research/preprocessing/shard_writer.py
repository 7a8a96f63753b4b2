"""Writes shards: tokens, their SHA-256 and the document index. `data.shards` states the format.

A shard appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.base.files import written_whole
from gpt_research.data.shards import Shard
from gpt_research.preprocessing.text.arrow import integers, numbers


class TokenFile:
    """A file of tokens that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def write(self, tokens: np.ndarray[Any, Any]) -> None:
        """Append tokens, which must be contiguous and of the type that the file shall have."""
        self._file.write(tokens.data)
        self._digest.update(tokens.data)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def token_file(path: Path) -> Iterator[TokenFile]:
    """Yield a file of tokens that gets its name when the block succeeds."""
    with written_whole(path) as part, open(part, "wb") as file:
        yield TokenFile(file)


def write_shard(folder: Path, name: str, tokens: Iterable[np.ndarray[Any, Any]], documents: pa.Table) -> Shard:
    """Write a shard.

    Args:
        tokens: those of all documents in their order, in pieces of any size.
        documents: tokens, bytes, source and position of each.
    """
    with token_file(folder / f"{name}.bin") as file:
        for piece in tokens:
            file.write(piece)
    return _with_index(folder, name, documents, file.sha256)


def adopt_shard(folder: Path, name: str, tokens: Path, sha256: str, documents: pa.Table) -> Shard:
    """Make a shard of a file of tokens that exists already; that file may be removed later on."""
    path = folder / f"{name}.bin"
    path.unlink(missing_ok=True)
    try:
        os.link(tokens, path)
    except OSError:  # some file systems have no links
        with written_whole(path) as part:
            shutil.copyfile(tokens, part)
    return _with_index(folder, name, documents, sha256)


def _with_index(folder: Path, name: str, documents: pa.Table, sha256: str) -> Shard:
    lengths = numbers(documents["tokens"])
    index = documents.add_column(0, "start", integers(np.cumsum(lengths) - lengths))
    with written_whole(folder / f"{name}.parquet") as part:
        pq.write_table(index, part, compression="zstd")
    total = pc.sum(index["bytes"]).as_py() or 0
    return Shard(f"{name}.bin", int(lengths.sum()), len(index), total, sha256)
