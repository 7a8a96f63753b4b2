"""The contract between the corpora and the rest of preprocessing: what a reader is and what it
yields.

A `Reader` knows one form of one corpus. It cuts the corpus into `Unit`s, pieces of work whose
number does not depend on the number of workers, and it streams the documents of a unit in memory
that does not grow with the file. It knows nothing about tokens.

A new corpus is one file with one class that has the four members of `Reader`, and one line in the
dictionary `READERS` (`readers/catalogue.py`). Corpora of JSON lines, CSV or Parquet extend
`TableReader` (`formats/tables.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ReadOptions:
    """What a user may choose about reading; every field is a flag of `gpt-research preprocess`."""

    text_key: str | None = None
    """JSON key or column that holds the text (default: found by name, `text` first)."""
    keep_personal_data: bool = False
    """Keep mail addresses, phone numbers and the like (enron) instead of putting placeholders."""
    mail_header: Literal["none", "subject", "full"] = "subject"
    """The short header put before a mail's body (enron)."""
    unwrap_paragraphs: bool = False
    """Join the hard-wrapped lines of a paragraph (gutenberg)."""
    keep_disambiguation: bool = False
    """Keep disambiguation pages (wikipedia)."""


@dataclass(slots=True)
class Document:
    """One text, and where it came from."""

    text: str
    source: str
    """File relative to the corpus root, `/` between folders, `!` before a member of an archive."""
    position: int
    """Row, page or message, counted from 0; in JSON lines, CSV and text files the byte offset."""
    utf8: bytes | None = None
    """The text's UTF-8 if the reader has it, which saves encoding the text again."""


@dataclass(slots=True)
class Drop:
    """A piece of the input that yields no document, and the reason."""

    reason: str
    """The name under which the piece is counted: `redirect`, `empty`, `broken_gzip`."""
    source: str
    position: int
    detail: str
    """An excerpt, or what is wrong, in a few words."""
    broken: bool = False
    """True if the input is damaged; False if the piece is left out by choice."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The part of a corpus that one call of `Reader.read` streams: a file, or a range of one."""

    path: str
    """File relative to the corpus root."""
    size: int
    """Bytes on disk, for balanced tasks and for the progress bar."""
    start: int = 0
    """First byte, row group or record; each reader chooses which of them it counts."""
    stop: int = -1
    """One past the last; -1 reads to the end."""


Record = tuple[int, dict[str, Any]]
"""One row of a table or one JSON object: its position (as in `Document`) and its fields by name."""


class MissingTextError(Exception):
    """A table has no column that is known to hold the text."""


class Reader(Protocol):
    """One form of one corpus. Optional methods are in `BatchReader` and `RecordReader`."""

    @property
    def name(self) -> str:
        """The name in `READERS` and on the command line."""

    @property
    def licence(self) -> str:
        """One sentence for the data card: the licence or legal state of the texts."""

    def units(self, root: Path) -> list[Unit]:
        """Cut the corpus at `root` (a file or a folder) into units, in a fixed order."""
        ...

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream the documents of one unit, and a `Drop` for each piece that yields none."""
        ...


@runtime_checkable
class BatchReader(Protocol):
    """A reader that can also yield documents in batches, which is faster than one by one."""

    def stream(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop | pa.RecordBatch]:
        """Stream the same documents as `read`; a batch has the schema `DOCUMENT_SCHEMA`
        (`text/arrow.py`)."""
        ...


@runtime_checkable
class RecordReader(Protocol):
    """A reader whose corpus also comes as rows, such as those of the Hugging Face hub."""

    def documents(self, items: Iterable[Record | Drop], source: str, options: ReadOptions) -> Iterator[Document | Drop]:
        """Make documents of records from any source, and pass drops on."""
        ...
