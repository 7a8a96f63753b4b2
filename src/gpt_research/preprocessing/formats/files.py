"""The files of a corpus, their form by their names, and their names in units and documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from gpt_research.preprocessing.document import Unit

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


def walk(root: Path) -> list[Path]:
    """Return the files under `root` (or `root` itself) by path, without hidden ones."""
    if not root.is_dir():
        return [root]
    files: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        files += [Path(folder, name) for name in names if not name.startswith((".", "_"))]
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def table_files(root: Path) -> list[Path]:
    """Return the tables and texts under `root`, without files that only describe the tables."""
    files = [path for path in walk(root) if form_of(path).kind]
    if not any(form_of(path).is_table for path in files):
        return files
    return [path for path in files if path == root or not path.name.lower().startswith(_ABOUT_THE_DATA)]


def relative(path: Path, root: Path) -> str:
    """Return the name of a file of the corpus at `root`, as units and documents give it."""
    return path.name if path == root else path.relative_to(root).as_posix()


def unit_file(root: Path, unit: Unit) -> Path:
    """Return the file of a unit."""
    return root / unit.path if root.is_dir() else root
