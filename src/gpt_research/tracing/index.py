"""The index of a data set: where each sequence of tokens stands in it.

    suffix_array/              in the folder of the data set, unless it is told another place
        train.suffixes         positions of the split's tokens, in the order of what stands from
                               there on: 4 bytes each, 5 beyond 2**32 tokens, the lowest first
        train.documents.npy    the first position of each document
        train.bytes.npy        bytes of text before every 4,096th position
        val.suffixes ...       the same for the validation split
        index.json             fingerprint of the data, and the size of each split

The tokens themselves stay in the shards. The folder appears when it is whole. Until then its parts
are in `suffix_array.building`, and an indexing that was stopped goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base import hints, machine
from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json, written_whole
from gpt_research.base.locks import take_lock
from gpt_research.data.dataset_tokenizer import tokenizer_of
from gpt_research.data.shards import Dataset, data_fingerprint, index_path
from gpt_research.tracing import compiled, suffix_array
from gpt_research.tracing.split_tokens import SplitTokens

NAME = "suffix_array"
"""The folder of the index in that of the data set."""
VERSION = 1
SPLITS = ("train", "val")
BYTES_EVERY = 4096
"""Positions between two entries of the table of bytes."""
SHARE_OF_MEMORY = 0.7
"""Share of the free memory that sorting may take."""
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16
Notice = Callable[[str], None]


def build_index(
    data: Path | str, out: Path | str = "", *, memory: int | None = None, notice: Notice = lambda _: None
) -> Path:
    """Make the index of a data set, and return its folder. One that is there already is kept.

    Args:
        out: the folder to write; by default `suffix_array` in that of the data set.
        memory: bytes that sorting may take; by default most of what is free.
        notice: takes a sentence on each stage that begins.

    Raises:
        UserError: no such data set, a missing package, a disk that refuses a file, or too little
            memory or room. What is done stays, and the next call goes on from there.
    """
    dataset = Dataset(data, block_size=1)
    folder = index_folder(data, out)
    identity = _identity(dataset)
    if (folder / "index.json").is_file() and _read(folder)["data"] == identity:
        notice(f"{folder} is the index of this data set already.")
        return folder
    tokenizer, _ = tokenizer_of(dataset)
    building = folder.with_name(f"{folder.name}.building")
    sizes = {split: SplitTokens(dataset, split).count for split in SPLITS}
    _require_room(folder, sizes)
    try:
        building.mkdir(parents=True, exist_ok=True)
        with take_lock(building, "owner.json"):
            memory = _go_on_or_begin(building, {"version": VERSION, "data": identity}, memory)
            for split in SPLITS:
                text = SplitTokens(dataset, split)
                _write_documents(text, dataset, building, tokenizer.end_of_text)
                _write_bytes(text, building, tokenizer.byte_lengths)
                _write_suffixes(text, building, tokenizer.end_of_text, tokenizer.vocab_size, memory, notice)
            splits = {split: {"tokens": count, "width": suffix_array.width_of(count)} for split, count in sizes.items()}
            write_json(building / "index.json", {"version": VERSION, "data": identity, "splits": splits})
            (building / "plan.json").unlink()
            if folder.exists():  # an index of other data, or of another version
                shutil.rmtree(folder)
            os.replace(building, folder)
            (folder / "owner.json").unlink()
    except OSError as error:
        raise cannot_write(folder, error, flag="--out", then="start again: what is done stays") from None
    return folder


def index_folder(data: Path | str, out: Path | str = "") -> Path:
    """Return where the index of a data set is, or will be."""
    return Path(out) if str(out) else Path(data) / NAME


def _require_room(folder: Path, sizes: Mapping[str, int]) -> None:
    """Raise `UserError` if the disk has no room for the index."""
    needed = sum(count * suffix_array.width_of(count) for count in sizes.values())
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    done = folder.with_name(f"{folder.name}.building")
    free += sum(file.stat().st_size for file in done.glob("*")) if done.is_dir() else 0
    if needed > free:
        raise UserError(
            f"The index takes {needed / 1e9:,.1f} GB, and {existing} has room for {free / 1e9:,.1f} GB. Free some, or "
            "name another place with --out."
        )


def _go_on_or_begin(building: Path, plan: Mapping[str, Any], memory: int | None) -> int:
    """Keep the parts in a folder if they are of the same data, else remove them; return the bytes
    of memory that sorting may take, by which the split is cut into parts.
    """
    free = int(machine.free_memory() * SHARE_OF_MEMORY) if memory is None else memory
    file = building / "plan.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        old = json.loads(file.read_text(encoding="utf-8"))
        if old["of"] == plan and old["memory"] <= free:
            return int(old["memory"])
    for part in building.iterdir():
        if part.name != "owner.json":
            part.unlink()
    write_json(file, {"of": plan, "memory": free})
    return free


def _write_documents(text: SplitTokens, dataset: Dataset, building: Path, end_of_text: int) -> None:
    """Write the first position of each document."""
    first = []
    for (corpus, number), array, begin in zip(text.shards, text.arrays, text.first.tolist(), strict=False):
        files = text.files[corpus]
        if index_path(files.folder, files.shards[number]).is_file():
            starts = np.concatenate([[0], files.document_ends(number)[:-1]])
        else:  # another program prepared it
            ends = np.flatnonzero(array == end_of_text) + 1
            starts = np.concatenate([[0], ends[ends < len(array)]]) if len(array) else np.empty(0)
        first.append(starts.astype(np.int64) + begin)
    with written_whole(building / f"{text.split}.documents.npy") as part, open(part, "wb") as file:
        np.save(file, np.concatenate(first) if first else np.empty(0, np.int64))


def _write_bytes(text: SplitTokens, building: Path, lengths: np.ndarray) -> None:
    """Write how many bytes of text stand before every 4,096th position."""
    path = building / f"{text.split}.bytes.npy"
    if path.is_file():
        return
    sums = [0]
    for begin in range(0, text.count, BYTES_EVERY):
        sums.append(sum(int(lengths[p].sum()) for p in text.pieces(begin, min(begin + BYTES_EVERY, text.count))))
    with written_whole(path) as part, open(part, "wb") as file:
        np.save(file, np.cumsum(sums))


def _write_suffixes(
    text: SplitTokens, building: Path, end_of_text: int, vocab_size: int, memory: int, notice: Notice
) -> None:
    """Write the suffix array of a split, part by part; parts that are there are kept."""
    path, token_bytes = building / f"{text.split}.suffixes", suffix_array.bytes_of_token(vocab_size)
    if path.is_file():
        return
    width = suffix_array.width_of(text.count)
    parts = suffix_array.cut(text, end_of_text, max(1, suffix_array.most_tokens(memory, token_bytes)))
    files = []
    for number, (start, stop) in enumerate(parts):
        file = building / f"{text.split}.{start}-{stop}.part"
        files.append(file)
        if not file.is_file():
            notice(f"Sorting {stop - start:,} tokens of {text.split}, part {number + 1} of {len(parts)}.")
            with written_whole(file) as unfinished, open(unfinished, "wb") as out:
                suffix_array.write_sorted(text, start, stop, token_bytes, width, out)
    if len(files) == 1:
        os.replace(files[0], path)
    else:
        notice(f"Merging the {len(files)} parts of {text.split}.")
        with written_whole(path) as unfinished, open(unfinished, "wb") as out:
            suffix_array.write_merged(text, end_of_text, files, width, out)
    for part in building.glob(f"{text.split}.*.part"):
        part.unlink()


def _identity(dataset: Dataset) -> dict[str, Any]:
    """Return what tells a data set from others: its fingerprint, and if another program prepared
    it, which has no hashes of its shards, a hash of some of their bytes.
    """
    found = {"fingerprint": data_fingerprint(dataset.manifests)}
    digest, foreign = hashlib.sha256(), False
    for split in SPLITS:
        for files in dataset.splits[split].values():
            for shard, array in zip(files.shards, files.arrays, strict=True):
                if not shard.sha256:
                    foreign = True
                    plain = array.view(np.uint8)
                    for begin in np.linspace(0, max(0, len(plain) - _SAMPLE_BYTES), _SAMPLES, dtype=np.int64):
                        digest.update(plain[begin : begin + _SAMPLE_BYTES].tobytes())
    return {**found, **({"samples": digest.hexdigest()} if foreign else {})}


def _read(folder: Path) -> dict[str, Any]:
    """Return the content of index.json.

    Raises:
        UserError: it is damaged.
    """
    try:
        fields = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return {"version": fields["version"], "data": fields["data"], "splits": fields["splits"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'index.json'} is damaged ({error!r}). Remove {folder} and index again.") from None


@dataclass(frozen=True)
class Match:
    """The longest part of a query, from one of its tokens on, that stands in a split."""

    length: int
    """Its tokens; 0 if the token does not come at all."""
    first: int
    last: int
    """Its places: the entries of the suffix array from `first` to before `last`."""

    @property
    def count(self) -> int:
        return self.last - self.first


class SplitIndex:
    """The index of one split, mapped into memory."""

    def __init__(self, folder: Path, text: SplitTokens, width: int) -> None:
        """Open the files of a split.

        Raises:
            UserError: a file is missing or cut.
        """
        self.text, self._width = text, width
        try:
            self._suffixes = _mapped(folder / f"{text.split}.suffixes", text.count * width)
            self.documents = np.load(folder / f"{text.split}.documents.npy")
            """(D,) int64, the first position of each document."""
            self._bytes = np.load(folder / f"{text.split}.bytes.npy")
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"The index {folder} is damaged ({error}). Remove it and index again.") from None

    def whole(self, query: np.ndarray) -> Match:
        """Return the match of a whole query (m,) int64; if the split does not have it, none."""
        [match] = self._longest(query, 1) if len(query) else [Match(0, 0, 0)]
        return match if match.length == len(query) else Match(0, 0, 0)

    def longest(self, query: np.ndarray) -> list[Match]:
        """Return the longest match from each token of a query (m,) int64 on."""
        return self._longest(query, len(query))

    def _longest(self, query: np.ndarray, places: int) -> list[Match]:
        """Return the longest match from each of the first `places` tokens of a query on."""
        if not self.text.count or not places:
            return [Match(0, 0, 0)] * places
        out = np.empty((places, 3), np.int64)
        text = self.text
        compiled.longest_matches(
            text.addresses,
            text.first,
            text.is_short,
            self._suffixes.ctypes.data,
            self._width,
            text.count,
            np.ascontiguousarray(query, np.int64),
            out,
        )
        return [Match(*row) for row in out.tolist()]

    def places(self, first: int, last: int) -> np.ndarray:
        """Return the positions in entries of the suffix array, (last - first,) int64."""
        plain = self._suffixes[first * self._width : last * self._width].reshape(-1, self._width)
        return plain.astype(np.int64) @ (1 << 8 * np.arange(self._width, dtype=np.int64))

    def bytes_before(self, position: int, lengths: np.ndarray) -> int:
        """Return the bytes of text before a position in the split.

        Args:
            lengths: (V,) the bytes of each token.
        """
        block = position // BYTES_EVERY
        return int(self._bytes[block]) + int(lengths[self.text.tokens(block * BYTES_EVERY, position)].sum())


def _mapped(path: Path, size: int) -> np.ndarray:
    if size == 0:
        return np.empty(0, np.uint8)
    array = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    if len(array) != size:
        raise ValueError(f"{path.name} has {len(array):,} bytes, not {size:,}")
    return array


class Index:
    """The index of a data set, opened."""

    def __init__(self, dataset: Dataset, out: Path | str = "") -> None:
        """Open the index of a data set.

        Args:
            out: its folder; by default `suffix_array` in that of the data set.

        Raises:
            UserError: there is none, or it is of other data, of another version or damaged.
        """
        self.dataset, self.folder = dataset, index_folder(dataset.folder, out)
        again = hints.command("index", dataset.folder, *(["--out", out] if str(out) else []))
        if not (self.folder / "index.json").is_file():
            raise UserError(f"{dataset.folder} has no index yet. Make it with: {again}")
        content = _read(self.folder)
        if content["version"] != VERSION:
            raise UserError(f"{self.folder} is of version {content['version']}, not {VERSION}. Make it with: {again}")
        if content["data"] != _identity(dataset):
            raise UserError(
                f"{self.folder} is the index of other data ({content['data']['fingerprint'][:12]}) than "
                f"{dataset.folder} holds ({data_fingerprint(dataset.manifests)[:12]}). Make it anew with: {again}"
            )
        self._widths = {split: content["splits"][split]["width"] for split in SPLITS}

    @cached_property
    def train(self) -> SplitIndex:
        return self._split("train")

    @cached_property
    def val(self) -> SplitIndex:
        return self._split("val")

    def _split(self, split: str) -> SplitIndex:
        return SplitIndex(self.folder, SplitTokens(self.dataset, split), self._widths[split])
