"""From the command line's `NAME=PATH` to a corpus that can be read, and from damage to counted drops.

`NAME=PATH`, `NAME:reader=PATH`, `NAME=hub:owner/name`. The six names of the mission bring their reader; with
any other name the reader follows from the files, unless it is named.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from gpt_research.base.errors import UserError, closest
from gpt_research.preprocessing.document import Document, Drop, Reader, ReadOptions, Unit
from gpt_research.preprocessing.formats.streams import BrokenInputError
from gpt_research.preprocessing.formats.tables import GenericReader, unit_file, walk
from gpt_research.preprocessing.readers.hub import HubReader
from gpt_research.preprocessing.readers.openwebtext import is_archive

READERS = {
    "cnn": ("gpt_research.preprocessing.readers.cnn", "CnnReader"),
    "enron": ("gpt_research.preprocessing.readers.enron", "EnronReader"),
    "gutenberg": ("gpt_research.preprocessing.readers.gutenberg", "GutenbergReader"),
    "openwebtext": ("gpt_research.preprocessing.readers.openwebtext", "OpenWebTextReader"),
    "transweb": ("gpt_research.preprocessing.readers.transweb", "TransWebReader"),
    "wikipedia": ("gpt_research.preprocessing.readers.wikipedia", "WikipediaReader"),
    "files": ("gpt_research.preprocessing.formats.tables", "GenericReader"),
}
"""Module and class of each reader, by the name it has on the command line; imported when it is used."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_FORMS = ".txt, .md, .jsonl, .json, .csv, .tsv, .parquet (also .gz, .zst), .tar, .xz, .xml.bz2, maildir"
_PROBED_UNITS = 3
_PROBED_ITEMS = 20


@dataclass(frozen=True)
class Corpus:
    """A named corpus with the reader for its form."""

    name: str
    root: Path
    reader: Reader

    def units(self) -> list[Unit]:
        """Cut the corpus into units, in a fixed order; at least one."""
        units = self.reader.units(self.root)
        if not units:
            raise UserError(
                f'Nothing that reader "{self.reader.name}" can read in {self.root} (corpus "{self.name}"). '
                f"Readable are {_FORMS}; another reader is named as {self.name}:READER=PATH."
            )
        return units

    def check(self, units: Sequence[Unit], options: ReadOptions) -> None:
        """Raise `UserError` if the first units show that no text can be found with these options.

        `read` counts a file without the text's field as damaged and goes on. Where the first files all lack
        it, the choice of the field is wrong, and a long run would end with nothing.
        """
        problem = ""
        for unit in units[:_PROBED_UNITS]:
            for item in islice(self.read(unit, options), _PROBED_ITEMS):
                if isinstance(item, Document):
                    return
                if item.reason == "no_text_key":
                    problem = problem or f"{item.source}: {item.detail}"
        if problem:
            raise UserError(f'Corpus "{self.name}" has {problem}. Name the one that holds the text: --text_key KEY.')

    def read(self, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit. Damaged input becomes a drop with `broken=True`; what came before it stays."""
        return self._guarded(unit, options, self.reader.read)

    def stream(self, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop | pa.RecordBatch]:
        """Stream one unit as `read` does, its documents by the batch (`DOCUMENT_SCHEMA`) where that is quicker."""
        reader = self.reader
        return self._guarded(unit, options, reader.stream if isinstance(reader, GenericReader) else reader.read)

    def _guarded(self, unit: Unit, options: ReadOptions, read: Callable[..., Iterator[Any]]) -> Iterator[Any]:
        position = 0
        try:
            if not isinstance(self.reader, HubReader) and unit_file(self.root, unit).stat().st_size == 0:
                yield Drop("empty_file", unit.path, 0, "the file has no bytes", broken=True)
                return
            for item in read(self.root, unit, options):
                position = 1 + (item["position"][-1].as_py() if isinstance(item, pa.RecordBatch) else item.position)
                yield item
        except (UserError, AssertionError):
            raise
        except Exception as error:  # a parser's surprise at one file must not end a run over a million
            yield Drop(*_fault(error, unit, position), broken=True)


def _fault(error: Exception, unit: Unit, position: int) -> tuple[str, str, int, str]:
    """Return reason, source, position and detail of what ended a unit early."""
    detail = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, BrokenInputError):
        reason, detail = error.reason, error.detail[:300]
    elif isinstance(error, FileNotFoundError):
        reason = "vanished"
    elif isinstance(error, UnicodeError):
        reason = "invalid_encoding"
    elif type(error).__module__.partition(".")[0] == "pyarrow":
        reason = "broken_parquet"
    elif isinstance(error, OSError):
        reason = "unreadable"
    else:
        reason = "reader_error"
    return reason, unit.path, position, detail


def resolve(spec: str) -> Corpus:
    """Return the corpus that `NAME=PATH`, `NAME:reader=PATH` or `NAME=hub:owner/name` means."""
    left, equals, place = spec.partition("=")
    name, _, chosen = left.partition(":")
    if not equals or not place or not name:
        raise UserError(f'"{spec}" names no corpus. Write NAME=PATH, for example cnn=data/cnn.')
    if not _NAME.fullmatch(name):
        raise UserError(
            f'"{name}" cannot name a corpus (in "{spec}"). Use small letters, digits, "_", "-" and ".", '
            "starting with a letter or digit."
        )
    if chosen and chosen not in READERS:
        raise UserError(
            f'There is no reader "{chosen}" (in "{spec}").{closest(chosen, READERS)} '
            f"Readers: {', '.join(sorted(READERS))}."
        )
    known = chosen or (name if name in READERS else "")
    if place.startswith("hub:"):
        inner: Any = _reader(known) if known else None
        interpreter = inner if hasattr(inner, "documents") else None
        return Corpus(name, Path(place), HubReader.parse(place.removeprefix("hub:"), interpreter))
    root = Path(place).expanduser()
    if not root.exists():
        raise UserError(f'{root} does not exist (corpus "{name}").{_neighbour(root)} Write NAME=PATH.')
    return Corpus(name, root, _reader(known or follow(root)))


def follow(root: Path) -> str:
    """Return the reader that the files at `root` ask for."""
    for path in walk(root):
        lower = path.name.lower()
        if "maildir" in path.parts or _is_mail_table(path):
            return "enron"
        if lower.endswith((".xml", ".xml.bz2", ".xml.gz", ".xml.xz", ".xml.7z")):
            return "wikipedia"
        if is_archive(path):
            return "enron" if lower.startswith("enron_mail") else "openwebtext"
    return "files"


def _is_mail_table(path: Path) -> bool:
    if path.name.lower() != "emails.csv":
        return False
    with open(path, "rb") as file:
        return file.readline(100).replace(b'"', b"").strip() == b"file,message"


def _reader(name: str) -> Reader:
    module, cls = READERS[name]
    reader: Reader = getattr(importlib.import_module(module), cls)()
    return reader


def _neighbour(path: Path) -> str:
    """Return the question after a mistyped name, if there is one nearby."""
    parent = path.parent
    return closest(path.name, (entry.name for entry in parent.iterdir())) if parent.is_dir() else ""
