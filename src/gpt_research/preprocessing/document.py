"""What a reader yields: documents, and what it left out with the reason.

A `Reader` knows one form of one corpus. It cuts the corpus into `Unit`s (pieces of work that do not
depend on the number of workers) and streams the documents of a unit; memory does not grow with the file.
It knows nothing about tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gpt_research.config import ReadOptions


@dataclass(slots=True)
class Document:
    """One text, with the way back to where it came from."""

    text: str
    source: str
    """File relative to the corpus root, `/` between folders, `!` before a member of an archive."""
    position: int
    """Where in its source: row, page or message, counted from 0; in JSON lines, CSV and text the byte offset."""
    utf8: bytes | None = None
    """The text's UTF-8, if the reader has it: what wants it so need not make it again."""


@dataclass(slots=True)
class Drop:
    """A piece that yields no document, and why."""

    reason: str
    """Counted by this name: `redirect`, `empty`, `broken_gzip`."""
    source: str
    position: int
    detail: str
    """An excerpt, or what is wrong, in a few words."""
    broken: bool = False
    """True where the input is damaged, rather than left out by choice."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a corpus that one `read` streams: a file, or part of one."""

    path: str
    """File relative to the corpus root."""
    size: int
    """Bytes on disk of this piece, for balancing and progress."""
    start: int = 0
    """First byte, row group or record of the piece; its meaning is the reader's own."""
    stop: int = -1
    """One past the last; -1 reads to the end."""


class Reader(Protocol):
    """One form of one corpus."""

    @property
    def name(self) -> str:
        """The name it has on the command line."""

    @property
    def licence(self) -> str:
        """One sentence for the data card: the licence or legal state of the texts."""

    def units(self, root: Path) -> list[Unit]:
        """Cut the corpus at `root` (file or folder) into units, in a fixed order."""
        ...

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit."""
        ...
