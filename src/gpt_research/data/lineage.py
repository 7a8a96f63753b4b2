"""From a token of a data set back to where it came from: corpus, shard, document, source file.

Tokens of a split are counted over all its shards in their order. Of the document indexes only that of the token's own
shard is read. Knows nothing about training but what a `DataLoader` reads in a step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpt_research.base.errors import UserError, closest
from gpt_research.config import TrainConfig
from gpt_research.data.loader import DataLoader
from gpt_research.data.shards import Dataset, Manifest, Shard, read_manifests
from gpt_research.data.tokenizer import Tokenizer

CONTEXT = 48
"""Tokens of text shown on either side."""


@dataclass(frozen=True)
class Place:
    """Where a token stands and where it came from."""

    corpus: str
    split: str
    token: int
    """Counted over the split of the corpus."""
    shard: str
    """Path of the shard in the data set."""
    token_in_shard: int
    row: int
    """Of the shard's document index."""
    document_tokens: int
    """Tokens of the document, its end-of-text token included."""
    token_in_document: int
    source: str
    """File of the corpus, `!` before a member of an archive."""
    position: int
    """Of the document in its source: row, page, message or byte offset, as the reader counts."""
    root: str
    """What the corpus was read from; empty where the data set does not say."""
    sha256: str
    """Of the source file; empty where it was none, as on the hub."""
    text: tuple[str, str, str]
    """The document before the token, the token, and after it, each cut to `CONTEXT` tokens."""


class Lineage:
    """A data set opened to be asked for places."""

    def __init__(self, folder: Path | str) -> None:
        """Open `folder`.

        Raises:
            UserError: no data set there, or one that was prepared elsewhere and has no document index.
        """
        self.folder = Path(folder)
        self.corpora = read_manifests(self.folder)
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            file = self.folder.resolve().parent / "tokenizer.json"  # the folder of one corpus
        if not file.is_file():
            raise UserError(f"{self.folder} was prepared elsewhere: it does not say where its tokens came from.")
        self.tokenizer = Tokenizer.load(file)
        self.roots = _roots(self.folder)
        self._indexes: dict[Path, tuple[np.ndarray, np.ndarray]] = {}

    def place(self, corpus: str, token: int, split: str = "train") -> Place:
        """Return where token number `token` of a corpus and split stands.

        Raises:
            UserError: no such corpus, no such token, or a shard or index that is missing or damaged.
        """
        folder, manifest = self._corpus(corpus)
        shards = manifest.splits.get(split, [])
        ends = np.cumsum([shard.tokens for shard in shards])
        total = int(ends[-1]) if len(ends) else 0
        if not 0 <= token < total:
            held = f"numbered 0 to {total - 1}" if total else "of which it has none"
            raise UserError(f"token is {token}, but must be one of the {split} tokens of {corpus}, {held}.")
        number = int(np.searchsorted(ends, token, side="right"))
        return self._place(corpus, split, number, token - int(ends[number]) + shards[number].tokens)

    def window(self, corpus: str, shard: int, start: int, length: int, split: str = "train") -> list[Place]:
        """Return the places of the first token of each document that a window of a shard touches."""
        folder, manifest = self._corpus(corpus)
        starts, _ = self._index(folder, manifest.splits[split][shard])
        inside = starts[(starts > start) & (starts < start + length)]
        return [self._place(corpus, split, shard, int(token)) for token in (start, *inside)]

    def _corpus(self, name: str) -> tuple[Path, Manifest]:
        if name not in self.corpora:
            known = ", ".join(self.corpora)
            asked = f'has no corpus "{name}"' if name else "has several corpora"
            raise UserError(f"{self.folder} {asked}.{closest(name, self.corpora)} Name one with --corpus: {known}.")
        return self.corpora[name]

    def _place(self, corpus: str, split: str, number: int, token: int) -> Place:
        """Look up token `token` of shard `number`."""
        folder, manifest = self.corpora[corpus]
        shard = manifest.splits[split][number]
        starts, lengths = self._index(folder, shard)
        row = int(np.searchsorted(starts, token, side="right")) - 1
        start, length = int(starts[row]), int(lengths[row])
        document = _read_row(_index_path(folder, shard), row)
        return Place(
            corpus=corpus,
            split=split,
            token=token + sum(earlier.tokens for earlier in manifest.splits[split][:number]),
            shard=str((folder / shard.path).relative_to(self.folder)),
            token_in_shard=token,
            row=row,
            document_tokens=length,
            token_in_document=token - start,
            source=document["source"],
            position=document["position"],
            root=self.roots.get(corpus, ""),
            sha256=_source_sha256(folder, manifest, document["source"]),
            text=self._text(folder, manifest, shard, token, start, start + length),
        )

    def _index(self, folder: Path, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        """Return first tokens and lengths of the documents of a shard."""
        path = _index_path(folder, shard)
        if path not in self._indexes:
            self._indexes.clear()  # one at a time
            try:
                table = pq.read_table(path, columns=["start", "tokens"])
            except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
                raise UserError(
                    f"The document index {path} cannot be read ({str(error)[:100]}). Run preprocessing again."
                ) from None
            self._indexes[path] = table["start"].to_numpy(), table["tokens"].to_numpy()
        return self._indexes[path]

    def _text(
        self, folder: Path, manifest: Manifest, shard: Shard, token: int, start: int, stop: int
    ) -> tuple[str, str, str]:
        """Decode a document around one of its tokens."""
        first, last = max(start, token - CONTEXT), min(stop, token + 1 + CONTEXT)
        dtype = np.dtype(manifest.dtype).newbyteorder("<")
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


def _roots(folder: Path) -> dict[str, str]:
    """Return what each corpus was read from, as the user named it."""
    for place in (folder, folder.resolve().parent):
        if (place / "dataset.json").is_file():
            specs = json.loads((place / "dataset.json").read_text(encoding="utf-8")).get("read_from", {})
            return {name: spec.partition("=")[2] for name, spec in specs.items()}
    return {}


def _index_path(folder: Path, shard: Shard) -> Path:
    return (folder / shard.path).with_suffix(".parquet")


def _read_row(path: Path, row: int) -> dict[str, Any]:
    """Return source and position of a row, reading only the row group that holds it."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                table = file.read_row_group(group, columns=["source", "position"]).slice(row, 1)
                return table.to_pylist()[0]
            row -= rows
    raise AssertionError("the row was found in this index")


def _source_sha256(folder: Path, manifest: Manifest, source: str) -> str:
    """Return the SHA-256 of the file a source names, which may be a member of an archive of that name."""
    listed = folder / "sources.parquet"
    while source:
        if listed.is_file():
            found = pq.read_table(listed, filters=[("path", "=", source)], columns=["sha256"])["sha256"].to_pylist()
        else:
            found = [s["sha256"] for s in manifest.sources if s["path"] == source]
        if found:
            return str(found[0])
        source = source.rpartition("!")[0]
    return ""


def windows_of_step(config: TrainConfig, step: int, data: Path | str) -> Iterator[list[Place]]:
    """Yield for each window of a training step (counted from 1) the documents it touches.

    A document is given by the window's first token in it. Windows come in the order of all ranks together.

    Raises:
        UserError: the run has no such step, or its data set is not at `data`, or was prepared elsewhere.
    """
    if not 1 <= step <= config.max_steps:
        raise UserError(f"step is {step}, but the run has steps 1 to {config.max_steps}.")
    dataset, lineage = Dataset(data, config.model.block_size), Lineage(data)
    loader = DataLoader.of_run(config, dataset.train)
    names = {id(array): (name, n) for name, files in dataset.train.items() for n, array in enumerate(files.arrays)}
    for micro_step in range(loader.micro_steps):
        for array, start in loader.places(step - 1, micro_step):
            corpus, shard = names[id(array)]
            yield lineage.window(corpus, shard, start, config.model.block_size + 1)
