"""Documents of a data set, chosen at random, for its card: what a model will read.

The dropped documents beside them show what it will not. The same data set shows the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from gpt_research.data.shards import Manifest, Shard

Decode = Callable[[Sequence[int]], str]
SHOWN = 5
"""Documents of each corpus."""
EXCERPT_TOKENS = 120
"""Tokens at the beginning of each document."""


@dataclass(frozen=True)
class KeptDocument:
    """The beginning of a document."""

    source: str
    position: int
    tokens: int
    """All its tokens, without the end-of-text token."""
    text: str
    """The text of the first tokens."""


def kept_documents(folder: Path, manifest: Manifest, decode: Decode) -> list[KeptDocument]:
    """Return some documents of the corpus in `folder`, each as likely as any other.

    Args:
        decode: from tokens to their text.
    """
    shards = [shard for shards in manifest.splits.values() for shard in shards if shard.documents]
    ends = np.cumsum([shard.documents for shard in shards])
    total = int(ends[-1]) if len(shards) else 0
    # The fingerprint and the counts tell one data set from another, and not one machine.
    seed = hashlib.sha256(f"{manifest.fingerprint} {total}".encode()).digest()
    if not total:
        return []
    chosen = np.random.default_rng(list(seed)).choice(total, min(SHOWN, total), replace=False)
    found = []
    for number in np.sort(chosen).tolist():
        which = int(np.searchsorted(ends, number, side="right"))
        row = number - int(ends[which]) + shards[which].documents
        found.append(_read(folder, manifest, shards[which], row, decode))
    return found


def _read(folder: Path, manifest: Manifest, shard: Shard, row: int, decode: Decode) -> KeptDocument:
    """Return document `row` of a shard."""
    columns = ["start", "tokens", "source", "position"]
    with pq.ParquetFile((folder / shard.path).with_suffix(".parquet")) as index:
        for batch in index.iter_batches(columns=columns):
            if row < len(batch):
                start, tokens, source, position = (batch[name][row].as_py() for name in columns)
                break
            row -= len(batch)
    dtype, wanted = manifest.token_type, min(tokens - 1, EXCERPT_TOKENS)
    with open(folder / shard.path, "rb") as file:
        file.seek(shard.header_bytes + start * dtype.itemsize)
        ids = np.frombuffer(file.read(wanted * dtype.itemsize), dtype)
    return KeptDocument(source, position, tokens - 1, decode(ids.tolist()))
