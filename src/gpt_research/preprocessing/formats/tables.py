"""Tables and texts in files (JSON lines, JSON, CSV, Parquet, plain text) as records, units and
documents.

`records` streams a file's records and sets damaged ones aside. `TableReader` makes documents of
them; it is the base of the corpora that come as tables. Files are cut into units by bytes (JSON
lines, CSV, text) or by row groups (Parquet), and the number of units depends on the files alone.

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
from gpt_research.preprocessing.formats.csv_rows import csv_records, row_starts
from gpt_research.preprocessing.formats.fields import find_text_key, text_of
from gpt_research.preprocessing.formats.files import form_of, relative, table_files, unit_file
from gpt_research.preprocessing.formats.json_records import holds_lines, json_lines, whole_json
from gpt_research.preprocessing.formats.parquet import (
    cut_row_groups,
    documents_of_column,
    parquet_batches,
    records_of_batch,
)
from gpt_research.preprocessing.formats.plain_text import text_records

UNIT_BYTES = 16 << 20
"""Size of the units that large files are cut into."""

Columns = Callable[[Sequence[str]], list[str]]
"""Chooses the columns to read by their names, the text first; raises `MissingTextError`."""


def cut(path: Path, root: Path) -> list[Unit]:
    """Cut one file into units of about `UNIT_BYTES`."""
    name, form = relative(path, root), form_of(path)
    try:
        size = path.stat().st_size
        if form.kind == "parquet":
            return cut_row_groups(path, name, size, UNIT_BYTES)
        if form.packed or size <= UNIT_BYTES or (form.kind == "json" and not holds_lines(path)):
            return [Unit(name, size)]
        wanted = range(UNIT_BYTES, size, UNIT_BYTES)
        borders = [0, *(row_starts(path, _delimiter(path), wanted) if form.kind == "csv" else wanted), size]
    except Exception:  # a damaged or vanished file is one unit, whose reading reports what is wrong
        return [Unit(name, path.stat().st_size if path.exists() else 0)]
    return [Unit(name, stop - start, start, stop) for start, stop in pairwise(borders)]


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.name.lower() else ","


def records(path: Path, unit: Unit, columns: Columns) -> Iterator[Record | Drop]:
    """Stream the records of a unit. A damaged record becomes a drop, and the rest goes on."""
    form = form_of(path)
    if form.kind == "text":
        yield from text_records(path, unit)
    elif form.kind == "csv":
        yield from csv_records(path, unit.path, columns, _delimiter(path), unit.start, unit.stop)
    elif form.kind == "parquet":
        for batch in parquet_batches(path, unit, columns):
            yield from [batch] if isinstance(batch, Drop) else records_of_batch(*batch)
    elif form.kind == "json" and not form.packed and not holds_lines(path):
        yield from whole_json(path, unit)
    else:
        yield from json_lines(path, unit)


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
        path = unit_file(root, unit)
        items = records(path, unit, partial(self.columns, options=options))
        if form_of(path).kind == "text":  # has no fields to choose among
            options = replace(options, text_key=None)
        return self.documents(items, unit.path, options)

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
