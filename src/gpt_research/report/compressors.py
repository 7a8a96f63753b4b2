"""What compressors need for the validation text of a data set, in bits per byte: a measure beside
which a model's bits per byte mean something.

"Alone" is the compressed size of the validation text. "Given the training text" is by how much the
compressed size of the training text grows if the validation text is appended to it, so that the
compressor knows the training text, as the model does. Documents are joined by two newlines, and the
bytes that count are those of the documents, as in `training.validation`.
"""

from __future__ import annotations

import bz2
import importlib.util
import json
import lzma
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.data.dataset_tokenizer import tokenizer_of
from gpt_research.data.shards import Dataset, TokenFiles, data_fingerprint, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.report.measured import Compressed, Measured

CACHE = "compressors.json"
VERSION = 1
MOST_TRAINING, MOST_VALIDATION = 16 << 20, 4 << 20
"""Bytes of text that are compressed at most. xz takes about a second a megabyte, twice."""
SAMPLE = 1 << 20
"""Tokens whose text tells how long the text of data is that does not say it."""
JOINT = b"\n\n"
PPMD_ORDER = 6
PPMD_MEMORY = 1 << 28


def compressors() -> dict[str, Callable[[bytes], int]]:
    """Return the compressors that are installed: from a text to its compressed size in bytes."""
    found = {"xz": _xz, "bz2": lambda text: len(bz2.compress(text))}
    if importlib.util.find_spec("pyppmd") is not None:
        found[f"PPMd (order {PPMD_ORDER})"] = _ppmd
    return found


def _xz(text: bytes) -> int:
    # The dictionary holds the whole text, because its default of 64 MB is not the point here.
    size = max(1 << 16, len(text))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
    return len(lzma.compress(text, lzma.FORMAT_RAW, filters=filters))


def _ppmd(text: bytes) -> int:
    import pyppmd

    encoder = pyppmd.Ppmd8Encoder(PPMD_ORDER, PPMD_MEMORY)
    return len(encoder.encode(text)) + len(encoder.flush())


def measure(folder: Path, notice: Callable[[str], None] = lambda _: None) -> Measured | None:
    """Return what the compressors need for the validation text of a data set; None if it has none.

    The numbers are kept in the data set's folder, if that can be written to.

    Args:
        notice: is told what takes long.

    Raises:
        UserError: the folder holds no data set, or a damaged one.
    """
    dataset = Dataset(folder, 1)
    key = {"version": VERSION, "data": data_fingerprint(dataset.manifests), "names": list(compressors()),
           "most": [MOST_TRAINING, MOST_VALIDATION]}  # fmt: skip
    kept = _kept(folder / CACHE, key)
    if kept is not None:
        return kept
    tokenizer, _ = tokenizer_of(dataset)
    sizes = {split: _sizes(dataset, split, tokenizer) for split in ("train", "val")}
    training = _text(dataset.train, sizes["train"], tokenizer, MOST_TRAINING)
    validation = _text(dataset.val, sizes["val"], tokenizer, MOST_VALIDATION)
    size = sum(map(len, validation))
    if not size:
        return None
    notice(f"compressing {sum(map(len, training)) / 1e6:.1f} MB of text with {', '.join(compressors())}, once")
    before, text = JOINT.join([*training, b""]), JOINT.join(validation)
    rows = []
    for name, compressed in compressors().items():
        given = compressed(before + text) - compressed(before)
        rows.append(Compressed(name, 8 * compressed(text) / size, 8 * given / size))
    all_training, all_validation = (sum(sizes[split].values()) for split in ("train", "val"))
    found = Measured(rows, sum(map(len, training)), all_training, size, max(size, all_validation))
    with suppress(OSError):  # a data set that others own may be read-only
        write_json(folder / CACHE, {"key": key, "measured": asdict(found)})
    return found


def measured_for(folder: str, fingerprint: str, notice: Callable[[str], None]) -> Measured | None:
    """Return what compressors need for the data of the runs; None if that data is not here."""
    try:
        manifests = {name: manifest for name, (_, manifest) in read_manifests(Path(folder)).items()}
        if fingerprint and data_fingerprint(manifests) != fingerprint:
            return None
        return measure(Path(folder), notice)
    except UserError:
        return None


def _kept(path: Path, key: Mapping[str, Any]) -> Measured | None:
    """Return what an earlier call measured on the same data."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] != key:
            return None
        fields = kept["measured"]
        return Measured(**{**fields, "rows": [Compressed(**row) for row in fields["rows"]]})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sizes(dataset: Dataset, split: str, tokenizer: Tokenizer) -> dict[str, int]:
    """Return the bytes of text of each corpus in a split; about, if another program prepared it."""
    sizes = {}
    for name, files in dataset.splits[split].items():
        known = dataset.manifests[name].count(split, "bytes")
        first = [tokens[:SAMPLE] for tokens in files.arrays[:1]]
        a_token = float(tokenizer.byte_lengths[first[0]].mean()) if first and len(first[0]) else 0.0
        sizes[name] = known or round(files.num_tokens * a_token)
    return sizes


def _text(splits: Mapping[str, TokenFiles], sizes: Mapping[str, int], tokenizer: Tokenizer, most: int) -> list[bytes]:
    """Return the documents of a split: all of them, or the first of each corpus, in proportion to
    its size, so that they have `most` bytes together.
    """
    is_cut, total = sum(sizes.values()) > most, max(1, sum(sizes.values()))
    found: list[bytes] = []
    for name, files in splits.items():
        room = most * sizes[name] // total if is_cut else most
        for document in _documents(files, tokenizer, room):
            if room <= 0:
                break
            found.append(document[:room])
            room -= len(document)
    return found


def _documents(files: TokenFiles, tokenizer: Tokenizer, room: int) -> Iterator[bytes]:
    """Yield the documents of a corpus, at least `room` bytes of them if it has so many."""
    for shard in files.arrays:
        # A token has a byte at least, unless it ends a text. The rest of a large shard is not read.
        tokens, start = shard[: 2 * room + 2], 0
        for end in [*np.flatnonzero(tokens == tokenizer.end_of_text).tolist(), len(tokens)]:
            if end > start:
                yield tokenizer.decode_bytes(tokens[start:end].tolist())
            start = end + 1
