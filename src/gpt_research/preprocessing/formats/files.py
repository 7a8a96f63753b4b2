"""The files of a corpus, their form by their names, and their names in units and documents."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Literal, NamedTuple

from gpt_research.preprocessing.document import Unit
from gpt_research.preprocessing.formats.streams import BrokenInputError, first_bytes
from gpt_research.preprocessing.formats.tar import begins_tar

Kind = Literal["text", "lines", "json", "csv", "parquet", ""]
_KINDS: dict[str, Kind] = {
    "txt": "text",
    "text": "text",
    "md": "text",
    "jsonl": "lines",
    "ndjson": "lines",
    "json": "json",
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
}
_PACKED = {"gz", "zst", "bz2", "xz"}
_ARCHIVES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", *(f".tar.{codec}" for codec in sorted(_PACKED)), ".zip")
_SMALLEST_ZIP = 22
"""Bytes of a zip archive without members."""
_HEAD_BYTES = 512
_ABOUT_THE_DATA = ("readme", "license", "licence", "dataset_info", "dataset_dict", "state.json")


class Form(NamedTuple):
    """What the name of a file tells about its content."""

    kind: Kind
    """`lines` is JSON lines; the empty string is a form that no table reader knows."""
    packed: bool
    """True if the file is compressed."""

    @property
    def is_table(self) -> bool:
        """True for files of records with fields: all kinds but plain text."""
        return self.kind not in ("", "text")


def form_of(file: Path | str) -> Form:
    """Return a file's form by its path or its name alone."""
    name = file if isinstance(file, str) else file.name
    stem, dot, suffix = name.lower().rpartition(".")
    packed = suffix in _PACKED
    if packed:
        stem, dot, suffix = stem.rpartition(".")
    return Form(_KINDS.get(suffix, "") if dot else "", packed)


def is_archive(path: Path) -> bool:
    """Return whether a file is a tar or zip archive: by its name, or, if that tells only that it is
    compressed, by its content. What is damaged counts as one, so that reading it reports that.
    """
    form = form_of(path)
    if form.kind or not (form.packed or has_name_of_archive(path.name)):
        return False
    try:
        if has_name_of_archive(path.name):
            # Some bytes called .zip are not even an empty one.
            return path.suffix.lower() != ".zip" or path.stat().st_size >= _SMALLEST_ZIP
        with open(path, "rb") as raw:
            head = first_bytes(path, _HEAD_BYTES)
            is_compressed = raw.read(len(head)) != head
        return begins_tar(head) or not is_compressed
    except (OSError, BrokenInputError):
        return True


def has_name_of_archive(name: str) -> bool:
    """Return whether a name is that of a tar or zip archive."""
    return name.lower().endswith(_ARCHIVES)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder inside a corpus is none of its texts, by its own name."""
    return name.startswith((".", "__MACOSX"))


def walk(root: Path) -> list[Path]:
    """Return the files under `root` (or `root` itself) by path, without hidden ones."""
    if not root.is_dir():
        return [root]
    # Other programs keep notes in files whose names begin with "_".
    files = [Path(folder, name) for folder, names in _folders(root) for name in names if not name.startswith("_")]
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def unread_files(root: Path, read: Set[str]) -> Iterator[str]:
    """Yield the names (see `relative`) of the files under a folder that are not hidden, not in
    `read`, and not right inside a folder that is in `read`.
    """
    for folder, names in _folders(root):
        inside = os.path.relpath(folder, root)
        if inside not in read:
            prefix = "" if inside == "." else inside.replace(os.sep, "/") + "/"
            yield from (prefix + name for name in names if prefix + name not in read)


def _folders(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder under `root` with its files, without hidden ones."""
    seen: set[str] = set()
    # Links to folders are followed, and `seen` ends a circle of them.
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield folder, [name for name in names if not name.startswith(".")]


def table_files(root: Path, paths: Iterable[Path] | None = None) -> list[Path]:
    """Return the tables, texts and archives under `root`, without files that only describe the
    tables.

    Args:
        paths: the files to choose among; None takes all.
    """
    files = [path for path in (walk(root) if paths is None else paths) if form_of(path).kind or is_archive(path)]
    if not any(form_of(path).is_table for path in files):
        return files
    return [path for path in files if path == root or not is_about_the_data(path.name)]


def is_about_the_data(name: str) -> bool:
    """Return whether a file beside tables only describes them, by its name."""
    return name.lower().startswith(_ABOUT_THE_DATA)


def relative(path: Path, root: Path) -> str:
    """Return the name of a file of the corpus at `root`, as units and documents give it."""
    return path.name if path == root else path.relative_to(root).as_posix()


def printable(name: str) -> str:
    """Return a name with "?" for each byte that is not UTF-8, as documents give it."""
    return name.encode("utf-8", "replace").decode()


def unit_file(root: Path, unit: Unit) -> Path:
    """Return the file of a unit."""
    return root / unit.path if root.is_dir() else root
