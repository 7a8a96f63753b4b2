"""Tables and texts in files (JSON lines, JSON, CSV, Parquet, plain text), also in archives, as
records, units and documents.

`records` streams a file's records and sets damaged ones aside. `TableReader` makes documents of
them; it is the base of the corpora that come as tables. Files are cut into units by bytes (JSON
lines, CSV, text), by row groups (Parquet) or by members (archives), and the number of units depends
on the files alone.

A document's `position` is the row in a Parquet file. In JSON lines, CSV and text it is the byte
offset in the decompressed file, because a part of a file cannot know how many lines came before it,
and an offset can be sought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from gpt_research.preprocessing.document import Document, Drop, MissingTextError, ReadOptions, Record, Unit
from gpt_research.preprocessing.formats.archives import ArchivedFile, archived_files, spooled
from gpt_research.preprocessing.formats.csv_rows import csv_records, row_starts
from gpt_research.preprocessing.formats.fields import find_text_key, text_of
from gpt_research.preprocessing.formats.files import (
    form_of,
    is_about_the_data,
    is_archive,
    relative,
    table_files,
    unit_file,
)
from gpt_research.preprocessing.formats.json_records import holds_lines, json_records, json_values
from gpt_research.preprocessing.formats.parquet import (
    cut_row_groups,
    documents_of_column,
    parquet_batches,
    records_of_batch,
)
from gpt_research.preprocessing.formats.plain_text import cut_text, divided, text_records
from gpt_research.preprocessing.formats.streams import BrokenInputError, as_utf8, is_wide, open_bytes
from gpt_research.preprocessing.text.decoding import format_of

UNIT_BYTES = 16 << 20
"""Size of the units that large files are cut into."""
_SHARE_BYTES = 512 << 20
_MOST_SHARES = 8
"""Size, and largest number, of the units of an archive."""
_MARK_BYTES = 16

Columns = Callable[[Sequence[str]], list[str]]
"""Chooses the columns to read by their names, the text first; raises `MissingTextError`."""


def cut(path: Path, root: Path) -> list[Unit]:
    """Cut one file into units of about `UNIT_BYTES`."""
    name, form = relative(path, root), form_of(path)
    try:
        size = path.stat().st_size
        if not form.kind and is_archive(path):
            return cut_archive(path, root)
        if form.kind == "parquet":
            return cut_row_groups(path, name, size, UNIT_BYTES)
        if form.packed or size <= UNIT_BYTES or is_wide(path) or not _can_be_cut(path):
            return [Unit(name, size)]
        wanted = range(UNIT_BYTES, size, UNIT_BYTES)
        if form.kind == "text":
            return cut_text(path, name, size, wanted)
        borders = [0, *(row_starts(path, _delimiter(path), wanted) if form.kind == "csv" else wanted), size]
    except Exception:  # a damaged or vanished file is one unit, whose reading reports what is wrong
        return [Unit(name, path.stat().st_size if path.exists() else 0)]
    return [Unit(name, stop - start, start, stop) for start, stop in pairwise(borders)]


def cut_archive(path: Path, root: Path) -> list[Unit]:
    """Cut a large archive into shares of its members.

    Share `start` of `stop` reads every `stop`-th member. It decompresses the whole archive for
    that, which is cheap where the members are compressed already and so are stored as they are.
    """
    size = path.stat().st_size
    shares = min(_MOST_SHARES, -(-size // _SHARE_BYTES)) or 1
    return [Unit(relative(path, root), size // shares, share, shares) for share in range(shares)]


def _can_be_cut(path: Path) -> bool:
    """Return whether a range of a file's bytes can be read."""
    # A suffix may lie: a file that is compressed or binary is read whole, or not at all.
    with open(path, "rb") as raw, open_bytes(path) as file:
        head = file.peek(1)
        if raw.read(_MARK_BYTES) != head[:_MARK_BYTES] or format_of(head):
            return False
    return form_of(path).kind not in ("lines", "json") or holds_lines(path)


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.name.lower() else ","


def records(path: Path, unit: Unit, columns: Columns) -> Iterator[Record | Drop]:
    """Stream the records of a unit. A damaged record becomes a drop, and the rest goes on."""
    kind = form_of(path).kind
    if kind == "text":
        yield from text_records(path, unit)
    elif kind == "parquet":
        for batch in parquet_batches(path, unit, columns):
            yield from [batch] if isinstance(batch, Drop) else records_of_batch(*batch)
    elif unit.start == 0 and (format := _format_of(path)):
        raise BrokenInputError("not_text", f"{path.suffix} is the wrong suffix: {format}")
    elif kind == "csv":
        yield from csv_records(path, unit.path, columns, _delimiter(path), unit.start, unit.stop)
    else:
        yield from json_records(path, unit)


def _format_of(path: Path) -> str:
    with open_bytes(path) as file:
        return format_of(file.peek(1))


def archived_records(file: ArchivedFile, columns: Columns) -> Iterator[Record | Drop]:
    """Stream the records of a file in an archive, or a drop if its name is of no known form."""
    kind = form_of(file.name).kind
    if not kind or (kind != "text" and is_about_the_data(file.name)):
        yield Drop("other_kind", file.source, 0, "its name ends in none of the suffixes that are read")
    elif kind == "text":
        yield from divided(as_utf8(file.stream), file.source)
    elif kind in ("lines", "json") and not format_of(file.stream.peek(1)):
        yield from json_values(as_utf8(file.stream), file.source)
    else:
        suffix = ".parquet" if kind == "parquet" else ".tsv" if ".tsv" in file.name.lower() else f".{kind}"
        with spooled(file.stream, suffix) as path:
            yield from records(path, Unit(file.source, path.stat().st_size), columns)


def with_text_key(
    items: Iterable[Record | Drop], source: str, columns: Columns
) -> Iterator[tuple[int, dict[str, Any], str] | Drop]:
    """Yield position and fields of each record, and the name of the field that holds its text."""
    key: str | None = None
    for item in items:
        if isinstance(item, Drop):
            yield item
            continue
        position, record = item
        if key not in record:
            try:
                key = columns(list(record))[0]
            except MissingTextError as error:
                yield Drop("no_text_key", source, position, str(error)[:400], broken=True)
                continue
        yield position, record, key


def text_documents(items: Iterable[Record | Drop], source: str, options: ReadOptions) -> Iterator[Document | Drop]:
    """Make documents of records by their text field alone."""
    return TableReader().documents(items, source, options)


@dataclass(frozen=True)
class TableReader:
    """Any file or folder of tables and texts.

    A subclass overrides `document` to change what becomes of a record's text, `columns` to read
    more fields than the text, and `files` to choose among the files.
    """

    name: str = "files"
    licence: str = "Not known: the files are the user's own."

    def units(self, root: Path) -> list[Unit]:
        """Cut the corpus at `root` (file or folder) into units, in a fixed order."""
        return [unit for path in self.files(root) for unit in cut(path, root)]

    def files(self, root: Path) -> list[Path]:
        """Return the files that belong to the corpus."""
        return table_files(root)

    def columns(self, names: Sequence[str], options: ReadOptions) -> list[str]:
        """Return the columns to read of a table, the one with the text first.

        Raises:
            MissingTextError: no column is known to hold the text.
        """
        return [find_text_key(names, options.text_key)]

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit."""
        path, columns = unit_file(root, unit), partial(self.columns, options=options)
        if not form_of(path).kind and is_archive(path):
            yield from self._read_archive(path, unit, options)
        else:
            yield from self._documents(records(path, unit, columns), path.name, unit.path, options)

    def _read_archive(self, path: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        columns = partial(self.columns, options=options)
        for file in archived_files(path, unit.path, unit.start, max(unit.stop, 1)):
            if isinstance(file, Drop):
                yield file
                continue
            try:
                yield from self._documents(archived_records(file, columns), file.name, file.source, options)
            except BrokenInputError as error:
                yield Drop(error.reason, file.source, 0, error.detail[:300], broken=True)

    def _documents(
        self, items: Iterable[Record | Drop], name: str, source: str, options: ReadOptions
    ) -> Iterator[Document | Drop]:
        if form_of(name).kind == "text":  # has no fields to choose among
            options = replace(options, text_key=None)
        return self.documents(items, source, options)

    def documents(self, items: Iterable[Record | Drop], source: str, options: ReadOptions) -> Iterator[Document | Drop]:
        """Make documents of records, which may come from a file or from the Hugging Face hub."""
        for item in with_text_key(items, source, partial(self.columns, options=options)):
            if isinstance(item, Drop):
                yield item
                continue
            position, record, key = item
            text = self.text(record[key], source, position)
            yield text if isinstance(text, Drop) else self.document(text, record, source, position, options)

    def text(self, value: Any, source: str, position: int) -> str | Drop:
        """Return the text of a record's text field, or why there is none."""
        return text_of(value, source, position)

    def document(
        self, text: str, record: dict[str, Any], source: str, position: int, options: ReadOptions
    ) -> Document | Drop:
        """Make a document of a record, given its text."""
        return Document(text, source, position)


@dataclass(frozen=True)
class GenericReader(TableReader):
    """Tables and texts whose documents are the text field as it is.

    It does not call `document` for Parquet files, so a reader that overrides `document` extends
    `TableReader`.
    """

    def stream(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[pa.RecordBatch | Document | Drop]:
        """Stream one unit as `read` does, a clean column of Parquet as batches of documents."""
        path = unit_file(root, unit)
        if form_of(path).kind == "parquet":
            return _stream_parquet(path, unit, options, partial(self.columns, options=options))
        return self.read(root, unit, options)


def _stream_parquet(
    path: Path, unit: Unit, options: ReadOptions, columns: Columns
) -> Iterator[pa.RecordBatch | Document | Drop]:
    for item in parquet_batches(path, unit, columns):
        if isinstance(item, Drop):
            yield item
            continue
        first, rows = item
        documents = documents_of_column(rows.column(0), unit.path, first)
        if documents is not None:
            yield documents
        else:
            yield from text_documents(records_of_batch(first, rows), unit.path, options)
