"""Writes shards: tokens, their SHA-256 and the document index. The format is stated in `shards`.

A shard appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.data.shards import Shard
from gpt_research.preprocessing.text.arrow import integers, numbers


class TokenFile:
    """A file of tokens as it grows: hashed as it is written, under its name once it is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sha256 = hashlib.sha256()
        self._file = open(_part(path), "wb")  # noqa: SIM115  closed in close

    def write(self, tokens: np.ndarray[Any, Any]) -> None:
        """Append tokens, which are contiguous and of the type that the file is to have."""
        self._file.write(tokens.data)
        self._sha256.update(tokens.data)

    def finish(self) -> str:
        """Give the file its name and return its SHA-256."""
        self.close()
        _part(self.path).replace(self.path)
        return self._sha256.hexdigest()

    def close(self) -> None:
        self._file.close()


def write_shard(folder: Path, name: str, tokens: Iterable[np.ndarray[Any, Any]], documents: pa.Table) -> Shard:
    """Write a shard.

    Args:
        tokens: those of all documents in their order, in pieces of any size.
        documents: tokens, bytes, source and position of each.
    """
    with contextlib.closing(TokenFile(folder / f"{name}.bin")) as file:
        for piece in tokens:
            file.write(piece)
        sha256 = file.finish()
    return _with_index(folder, name, documents, sha256)


def adopt_shard(folder: Path, name: str, tokens: Path, sha256: str, documents: pa.Table) -> Shard:
    """Make a shard of a file of tokens that is there already; the file may be removed later on."""
    place = folder / f"{name}.bin"
    place.unlink(missing_ok=True)
    try:
        os.link(tokens, place)
    except OSError:  # a file system without links
        shutil.copyfile(tokens, _part(place))
        _part(place).replace(place)
    return _with_index(folder, name, documents, sha256)


def _with_index(folder: Path, name: str, documents: pa.Table, sha256: str) -> Shard:
    lengths = numbers(documents["tokens"])
    index = documents.add_column(0, "start", integers(np.cumsum(lengths) - lengths))
    part = _part(folder / f"{name}.parquet")
    pq.write_table(index, part, compression="zstd")
    part.replace(folder / f"{name}.parquet")
    total = pc.sum(index["bytes"]).as_py() or 0
    return Shard(f"{name}.bin", int(lengths.sum()), len(index), total, sha256)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
