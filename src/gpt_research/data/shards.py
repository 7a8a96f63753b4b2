"""Token shards on disk: what preprocessing writes and training reads.

A data set is a folder:

    dataset.json                    names of the corpora; written last, so that a folder without it
                                    is known to be unfinished
    tokenizer.json                  the tokenizer
    <corpus>/manifest.json          fingerprint of the tokenizer, token type, sources, drops,
                                    and the shards with their counts and SHA-256
    <corpus>/<split>_00000.bin      tokens without a header, little-endian: uint16 if every id fits,
                                    else uint32
    <corpus>/<split>_00000.parquet  document index: a row for each document (`DOCUMENT_COLUMNS`)

Each document ends with the end-of-text token. The folder of one corpus is a data set too. This
module also reads nanoGPT's `train.bin` and `val.bin`, and llm.c's `*_train_*.bin` and `*_val_*.bin`
(a header of 256 int32, magic 20240520). It knows nothing about text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, write_json

FORMAT_VERSION = 1
LLMC_MAGIC = 20240520
LLMC_HEADER_BYTES = 256 * 4
DOCUMENT_COLUMNS = ("start", "tokens", "bytes", "source", "position")
"""Columns of a document index: first token in the shard, tokens with the end-of-text token, UTF-8
bytes of the text, and where it came from: the source file and the document's position in it."""


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    path: str
    """The file, relative to the folder of its manifest."""
    tokens: int
    """Its tokens, end-of-text tokens included."""
    documents: int = 0
    bytes: int = 0
    """UTF-8 bytes of the documents' text."""
    sha256: str = ""
    """SHA-256 of the file; empty if another program prepared the data."""
    header_bytes: int = 0
    """Bytes before the first token."""


@dataclass(frozen=True)
class Manifest:
    """What one corpus of a data set holds, and how it was made."""

    fingerprint: str
    """The fingerprint of its tokenizer; empty if another program prepared the data."""
    vocab_size: int
    dtype: str
    """uint16 or uint32."""
    splits: dict[str, list[Shard]]
    """train and val, each a list of shards in order."""
    reader: str = ""
    licence: str = ""
    documents_read: int = 0
    """Documents that the reader found, both kept and dropped."""
    drops: dict[str, int] = field(default_factory=dict)
    """Numbers of dropped documents, by reason."""
    drop_examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """A few dropped documents for each reason: source, position, detail."""
    contamination: dict[str, int] = field(default_factory=dict)
    """Numbers of kept documents that share 13 words in a row with a benchmark, by benchmark."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """The files that the corpus was read from: path, bytes, sha256."""
    options: dict[str, Any] = field(default_factory=dict)
    """The settings of preprocessing that decide the output."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Numbers of files that the reader does not take, by suffix."""
    version: int = FORMAT_VERSION

    @property
    def token_type(self) -> np.dtype[Any]:
        """The type of the tokens in the shards, little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    def count(self, split: str, what: str = "tokens") -> int:
        """Return the tokens, documents or bytes of a split."""
        return sum(getattr(shard, what) for shard in self.splits.get(split, []))


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the type tokens are stored as: uint16 if every id fits, else uint32; little-endian."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def data_fingerprint(manifests: Mapping[str, Manifest]) -> str:
    """Return the SHA-256 of the manifests of a data set.

    A checkpoint keeps it, so that a resumed run and an evaluation can tell which data it was
    trained on.
    """
    plain = {name: asdict(manifest) for name, manifest in manifests.items()}
    for fields in plain.values():
        del fields["left_out"]  # it came later than runs that have this fingerprint, and is no data
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_json(folder / "manifest.json", asdict(manifest))


def read_manifests(folder: Path) -> dict[str, tuple[Path, Manifest]]:
    """Return the folder and manifest of each corpus of a data set, by name.

    Raises:
        UserError: the folder holds no data set, or an unfinished or damaged one, or its corpora
            have different tokenizers.
    """
    if (folder / "dataset.json").is_file():
        names = _read_json(folder / "dataset.json")["corpora"]
        corpora = {name: (folder / name, _read_manifest(folder / name / "manifest.json")) for name in names}
    elif (folder / "manifest.json").is_file():
        corpora = {folder.resolve().name: (folder, _read_manifest(folder / "manifest.json"))}
    else:
        corpora = {folder.resolve().name: (folder, _foreign_manifest(folder))}
    fingerprints = {manifest.fingerprint for _, manifest in corpora.values()}
    if len(fingerprints) > 1:
        raise UserError(f"The corpora in {folder} were written with different tokenizers. Run preprocessing again.")
    return corpora


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields.get("version")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}). Run preprocessing again.") from None
    if version != FORMAT_VERSION:
        raise UserError(f"{path} is of version {version}, this program reads {FORMAT_VERSION}. Update gpt-research.")
    return fields


def _read_manifest(path: Path) -> Manifest:
    fields = _read_json(path)
    try:
        splits = {split: [Shard(**s) for s in shards] for split, shards in fields.pop("splits").items()}
        manifest = Manifest(**fields, splits=splits)
        if manifest.dtype not in ("uint16", "uint32"):
            raise UserError(f'{path} names the dtype "{manifest.dtype}", but tokens are uint16 or uint32.')
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error!r}). Run preprocessing again.") from None
    return manifest


def _foreign_manifest(folder: Path) -> Manifest:
    """Describe data that another program prepared; `data.dataset_tokenizer` finds its tokenizer."""
    if not folder.is_dir():
        raise UserError(
            f"No data set at {folder}. Name one with --data, or make it with: {hints.command('preprocess')}"
        )
    splits: dict[str, list[Shard]] = {}
    for split in ("train", "val"):
        paths = sorted({*folder.glob(f"{split}.bin"), *folder.glob(f"*_{split}_*.bin")})
        splits[split] = [_foreign_shard(path, is_nanogpt=path.name == f"{split}.bin") for path in paths]
    if not splits["train"]:
        raise UserError(
            f"No finished data set in {folder}: neither a dataset.json nor train.bin files. "
            f"Name a data set with --data, or make one with: {hints.command('preprocess')}"
        )
    return Manifest("", 50257, "uint16", splits, reader="prepared elsewhere")


def _foreign_shard(path: Path, *, is_nanogpt: bool) -> Shard:
    size, header = path.stat().st_size, np.fromfile(path, dtype="<i4", count=3)
    if len(header) == 3 and header[0] == LLMC_MAGIC:
        return Shard(path.name, int(header[2]), header_bytes=LLMC_HEADER_BYTES)
    if not is_nanogpt:
        raise UserError(
            f"{path} begins with {header[:1].tolist()}, not with llm.c's magic number {LLMC_MAGIC}. Prepare it again."
        )
    if size % 2:
        raise UserError(f"{path} has {size} bytes, no whole number of uint16 tokens. Prepare it again.")
    return Shard(path.name, size // 2)


class TokenFiles:
    """The tokens of one corpus and split: shards mapped into memory and cut into windows.

    A window is `block_size + 1` tokens of one shard, so that each position has a next token.
    Windows share that one token and never cross shards. The last tokens of a shard are in no window
    unless `shift` moves the windows.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard], dtype: np.dtype[Any], block_size: int) -> None:
        self.block_size = block_size
        self.folder, self.shards = folder, shards
        self.arrays = [_map_shard(folder, shard, dtype) for shard in shards]
        lengths = np.array([len(a) for a in self.arrays], dtype=np.int64)
        windows = np.maximum(lengths - 1, 0) // block_size  # for each shard
        self.first_window = np.concatenate([[0], np.cumsum(windows)])
        self.slack = np.maximum(lengths - 1, 0) - windows * block_size
        self.num_windows = int(self.first_window[-1])
        self.num_tokens = int(lengths.sum())

    def locate(self, windows: np.ndarray, shift: int | np.ndarray = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard (n,) and the first token in it (n,) of each of the windows (n,).

        Args:
            shift: tokens by which windows move to the right, modulo the unused tokens of their
                shard, so that passes over the data cut it differently; one number, or one for each
                window.
        """
        shard = np.searchsorted(self.first_window, windows, side="right") - 1
        start = (windows - self.first_window[shard]) * self.block_size + shift % (self.slack[shard] + 1)
        return shard, start

    def document_ends(self, shard: int) -> np.ndarray:
        """Return the token after each document of a shard, (documents,) int64.

        Raises:
            UserError: it has no document index, because another program prepared it, or the index
                is damaged.
        """
        path = index_path(self.folder, self.shards[shard])
        if not path.is_file():
            raise UserError(
                f"shuffle_documents is on, but there is no {path} that says where documents begin. Another program "
                "prepared this data set: leave shuffle_documents off."
            )
        starts, lengths = read_document_index(path)
        if not len(starts) or int(starts[-1] + lengths[-1]) != len(self.arrays[shard]):
            raise UserError(f"The document index {path} does not fit its shard. Run preprocessing again.")
        return starts + lengths


def index_path(folder: Path, shard: Shard) -> Path:
    """Return the document index of a shard."""
    return (folder / shard.path).with_suffix(".parquet")


def read_document_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the first token and the number of tokens of each document of a shard.

    Raises:
        UserError: the index is missing or damaged.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["start", "tokens"])
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
        raise UserError(
            f"The document index {path} cannot be read ({str(error)[:100]}). Run preprocessing again."
        ) from None
    return table["start"].to_numpy().astype(np.int64), table["tokens"].to_numpy().astype(np.int64)


def _map_shard(folder: Path, shard: Shard, dtype: np.dtype[Any]) -> np.ndarray:
    """Map one shard into memory; refuse a file that is not as long as its manifest says."""
    path = folder / shard.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder / 'manifest.json'} names {shard.path!r}, outside of its folder. Do not use it.")
    expected = shard.header_bytes + shard.tokens * dtype.itemsize
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"Shard {path} cannot be read ({error.strerror}). Run preprocessing again.") from None
    if size != expected:
        raise UserError(f"Shard {path} has {size} bytes, but its manifest says {expected}. Run preprocessing again.")
    if shard.tokens == 0:
        return np.empty(0, dtype)
    mapped = np.memmap(path, dtype, mode="r", offset=shard.header_bytes, shape=(shard.tokens,))
    # To slice a memmap takes several times as long as to slice a plain array.
    return mapped.view(np.ndarray)


Span = tuple[np.ndarray, int, int]
"""Tokens that lie in a row: those of their shard, the index of the first one, and their number."""


def gather(windows: Sequence[Sequence[Span]], block_size: int) -> np.ndarray:
    """Copy windows, each made of spans, into one array (n, block_size + 1) int64."""
    out = np.empty((len(windows), block_size + 1), dtype=np.int64)
    for row, spans in enumerate(windows):
        if len(spans) == 1:  # by far the most are, and to copy a whole row is faster
            tokens, first, length = spans[0]
            out[row] = tokens[first : first + length]
            continue
        place = 0
        for tokens, first, length in spans:
            out[row, place : place + length] = tokens[first : first + length]
            place += length
    return out


class Dataset:
    """A data set, opened for a context length: `TokenFiles` by split and corpus."""

    def __init__(self, folder: Path | str, block_size: int) -> None:
        """Open `folder`.

        Raises:
            UserError: the folder holds no data set, a shard is damaged, or no training shard holds
                a window.
        """
        self.folder = Path(folder)
        self.block_size = block_size
        manifests = read_manifests(self.folder)
        self.manifests = {name: manifest for name, (_, manifest) in manifests.items()}
        self.splits = {
            split: {
                name: TokenFiles(where, manifest.splits.get(split, []), manifest.token_type, block_size)
                for name, (where, manifest) in manifests.items()
            }
            for split in ("train", "val")
        }
        self.train, self.val = self.splits["train"], self.splits["val"]
        if not any(files.num_windows for files in self.train.values()):
            longest = max((len(a) for files in self.train.values() for a in files.arrays), default=0)
            raise UserError(
                f"No shard in {self.folder} holds {block_size + 1} tokens (the longest has {longest}). "
                "Lower model.block_size or add text."
            )

    def verify(self) -> None:
        """Check every shard against the SHA-256 in its manifest, if the manifest has one.

        Raises:
            UserError: a shard has changed.
        """
        for folder, manifest in read_manifests(self.folder).values():
            for shard in (shard for shards in manifest.splits.values() for shard in shards):
                if shard.sha256 and file_sha256(folder / shard.path) != shard.sha256:
                    raise UserError(
                        f"Shard {folder / shard.path} was changed: its SHA-256 is not that of its manifest. "
                        "Run preprocessing again."
                    )

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its tokenizer; empty if another program prepared the data."""
        return next(iter(self.manifests.values())).fingerprint

    @property
    def tokenizer_file(self) -> Path | None:
        """`tokenizer.json` of the data set, or of the data set that this corpus is part of."""
        for folder in (self.folder, self.folder.resolve().parent):
            if (folder / "tokenizer.json").is_file():
                return folder / "tokenizer.json"
        return None
