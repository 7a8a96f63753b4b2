"""From a token of a data set back to its origin: corpus, shard, document, source file.

The tokens of a split are counted over all its shards in their order. Only one document index is
read: that of the shard that holds the token. This module knows nothing about training but the
windows that a `DataLoader` reads in a step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpt_research.base.errors import UserError, closest
from gpt_research.data.loader import DataLoader, shards_by_array
from gpt_research.data.shards import Manifest, Shard, TokenFiles, index_path, read_document_index, read_manifests
from gpt_research.data.tokenizer import Tokenizer

CONTEXT = 48
"""Tokens of text shown before and after a token."""


@dataclass(frozen=True)
class Origin:
    """Where a token is in its data set, and the source that it came from."""

    corpus: str
    split: str
    token: int
    """Its number among the tokens of the corpus and split."""
    shard: str
    """Path of its shard in the data set."""
    token_in_shard: int
    row: int
    """Row of its document in the document index of the shard."""
    document_tokens: int
    """Tokens of its document, the end-of-text token included."""
    token_in_document: int
    source: str
    """Source file of the document; `!` comes before a member of an archive."""
    position: int
    """Position of the document in its source: row, page, message or byte offset."""
    root: str
    """File or folder that the corpus was read from; empty if the data set does not say."""
    sha256: str
    """SHA-256 of the source file; empty if the source is no file, as on the hub."""
    text: tuple[str, str, str]
    """The text before the token, its own text, and the text after it."""


class Lineage:
    """A data set, opened to look up the origins of its tokens."""

    def __init__(self, folder: Path | str) -> None:
        """Open `folder`.

        Raises:
            UserError: the folder holds no data set, or another program prepared it, so that it has
                no document index.
        """
        self.folder = Path(folder)
        self.corpora = read_manifests(self.folder)
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            file = self.folder.resolve().parent / "tokenizer.json"  # the folder of one corpus
        if not file.is_file():
            raise UserError(f"{self.folder} was prepared elsewhere: it does not say where its tokens came from.")
        self.tokenizer = Tokenizer.load(file)
        self.roots = roots_of(self.folder)
        self._indexes: dict[Path, tuple[np.ndarray, np.ndarray]] = {}

    def origin(self, corpus: str, token: int, split: str = "train") -> Origin:
        """Return the origin of token number `token` of a corpus and split.

        Raises:
            UserError: the corpus or the token does not exist, or a shard or index is missing or
                damaged.
        """
        folder, manifest = self._corpus(corpus)
        shards = manifest.splits.get(split, [])
        ends = np.cumsum([shard.tokens for shard in shards])
        total = int(ends[-1]) if len(ends) else 0
        if not 0 <= token < total:
            held = f"numbered 0 to {total - 1}" if total else "of which it has none"
            raise UserError(f"token is {token}, but must be one of the {split} tokens of {corpus}, {held}.")
        number = int(np.searchsorted(ends, token, side="right"))
        return self._origin(corpus, split, number, token - int(ends[number]) + shards[number].tokens)

    def window(self, corpus: str, shard: int, start: int, length: int, split: str = "train") -> list[Origin]:
        """Return the origin of the first token that a window of a shard holds of each document."""
        folder, manifest = self._corpus(corpus)
        starts, _ = self._index(folder, manifest.splits[split][shard])
        inside = starts[(starts > start) & (starts < start + length)]
        return [self._origin(corpus, split, shard, int(token)) for token in (start, *inside)]

    def _corpus(self, name: str) -> tuple[Path, Manifest]:
        if name not in self.corpora:
            known = ", ".join(self.corpora)
            asked = f'has no corpus "{name}"' if name else "has several corpora"
            raise UserError(f"{self.folder} {asked}.{closest(name, self.corpora)} Name one with --corpus: {known}.")
        return self.corpora[name]

    def _origin(self, corpus: str, split: str, number: int, token: int) -> Origin:
        """Return the origin of token `token` of shard `number`."""
        folder, manifest = self.corpora[corpus]
        shard = manifest.splits[split][number]
        starts, lengths = self._index(folder, shard)
        row = int(np.searchsorted(starts, token, side="right")) - 1
        start, length = int(starts[row]), int(lengths[row])
        source, position = source_of(index_path(folder, shard), row)
        return Origin(
            corpus=corpus,
            split=split,
            token=token + sum(earlier.tokens for earlier in manifest.splits[split][:number]),
            shard=str((folder / shard.path).relative_to(self.folder)),
            token_in_shard=token,
            row=row,
            document_tokens=length,
            token_in_document=token - start,
            source=source,
            position=position,
            root=self.roots.get(corpus, ""),
            sha256=_source_sha256(folder, manifest, source),
            text=self._text(folder, manifest, shard, token, start, start + length),
        )

    def _index(self, folder: Path, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        """Return first tokens and lengths of the documents of a shard."""
        path = index_path(folder, shard)
        if path not in self._indexes:
            # Only one index is kept, because it may be large.
            self._indexes.clear()
            self._indexes[path] = read_document_index(path)
        return self._indexes[path]

    def _text(
        self, folder: Path, manifest: Manifest, shard: Shard, token: int, start: int, stop: int
    ) -> tuple[str, str, str]:
        """Decode a document around one of its tokens."""
        # Only the tokens around this one are read, because a document may be as large as a book.
        first, last = max(start, token - CONTEXT), min(stop, token + 1 + CONTEXT)
        dtype = manifest.token_type
        try:
            with open(folder / shard.path, "rb") as file:
                file.seek(shard.header_bytes + first * dtype.itemsize)
                ids = np.frombuffer(file.read((last - first) * dtype.itemsize), dtype).tolist()
        except (OSError, ValueError) as error:
            raise UserError(f"Shard {folder / shard.path} cannot be read ({error}). Run preprocessing again.") from None
        if len(ids) < last - first:
            raise UserError(f"Shard {folder / shard.path} is too short. Run preprocessing again.")
        parts = ids[: token - first], ids[token - first : token - first + 1], ids[token - first + 1 :]
        before, here, after = map(self._decoded, parts)
        return before, here, after

    def _decoded(self, ids: list[int]) -> str:
        ends = bool(ids) and ids[-1] == self.tokenizer.end_of_text
        return self.tokenizer.decode(ids) + ("<|endoftext|>" if ends else "")


def roots_of(folder: Path) -> dict[str, str]:
    """Return the path that each corpus of a data set was read from, as the user wrote it; empty if
    the data set does not say.
    """
    for data_set in (folder, folder.resolve().parent):
        if (data_set / "dataset.json").is_file():
            specs = json.loads((data_set / "dataset.json").read_text(encoding="utf-8")).get("read_from", {})
            return {name: spec.partition("=")[2] for name, spec in specs.items()}
    return {}


def source_of(path: Path, row: int) -> tuple[str, int]:
    """Return the source file of a row of a document index, and the document's position in it.

    Only the row group that holds the row is read, and kept for the next rows.

    Raises:
        UserError: the index is damaged.
    """
    ends = _group_ends(path)
    group = int(np.searchsorted(ends, row, side="right"))
    sources, positions = _row_group(path, group)
    inside = row - (int(ends[group - 1]) if group else 0)
    return sources[inside].as_py(), positions[inside].as_py()


@lru_cache(maxsize=1024)
def _group_ends(path: Path) -> np.ndarray:
    with _opened(path) as file:
        return np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])


@lru_cache(maxsize=64)
def _row_group(path: Path, group: int) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    with _opened(path) as file:
        # Two columns are read in the time in which other threads would begin to.
        table = file.read_row_group(group, columns=["source", "position"], use_threads=False)
    return table["source"], table["position"]


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (OSError, ValueError) as error:  # pyarrow's errors are among these
        raise UserError(
            f"The document index {path} cannot be read ({str(error)[:100]}). Run preprocessing again."
        ) from None


def _source_sha256(folder: Path, manifest: Manifest, source: str) -> str:
    """Return the SHA-256 of the file that a source names, or of the archive that holds it."""
    listed = folder / "sources.parquet"
    while source:
        if listed.is_file():
            hashes = pq.read_table(listed, filters=[("path", "=", source)], columns=["sha256"])["sha256"].to_pylist()
        else:
            hashes = [s["sha256"] for s in manifest.sources if s["path"] == source]
        if hashes:
            return str(hashes[0])
        source = source.rpartition("!")[0]
    return ""


def windows_of_step(
    lineage: Lineage, files: Mapping[str, TokenFiles], loader: DataLoader, step: int
) -> Iterator[list[Origin]]:
    """Yield for each window of a training step (counted from 1) the documents that it touches.

    A document is given by the origin of its first token in the window. Windows come in the order of
    all ranks.

    Args:
        files: the training split of the data set of `lineage`, by corpus.
        loader: one that reads `files` as the run does, for one rank among one.
    """
    names = shards_by_array(files)
    for micro_step in range(loader.micro_steps):
        for window in loader.windows(step - 1, micro_step):
            yield [
                origin for array, first, length in window for origin in lineage.window(*names[id(array)], first, length)
            ]
