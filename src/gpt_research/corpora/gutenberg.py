"""Project Gutenberg: plain-text books, or the hub's form of one row per paragraph.

A plain-text file is one document; of a hub table, the contiguous rows of one `book_name` are, also where they
go on in the next row group or file. Licence, small print and producers' credits are gone (see `book`). The
character set is found from the content, since the line that names it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq

from gpt_research.corpora.book import strip_boilerplate, unwrap
from gpt_research.corpora.document import Document, Drop, ReadOptions, Unit
from gpt_research.corpora.text import decode

_BOOKS = (".txt", ".text", ".utf8")
_COLUMNS = ["book_name", "paragraph"]
_ROWS_AT_ONCE = 4096


class GutenbergReader:
    """Books as files, or as tables with the columns `book_name, paragraph`."""

    name = "gutenberg"
    licence = "Public domain in the USA (Project Gutenberg); other countries' terms may differ."

    def units(self, root: Path) -> list[Unit]:
        """One unit per book, and one per row group of a table, in the order of the paths."""
        if root.is_file():
            return _units_of_file(root, root.name)
        paths = (path for path in root.rglob("*") if path.suffix.lower() in (*_BOOKS, ".parquet"))
        relative = sorted(path.relative_to(root).as_posix() for path in paths if path.is_file())
        return [unit for path in relative for unit in _units_of_file(root / path, path)]

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Give each book without what Project Gutenberg put around it."""
        if unit.path.endswith(".parquet"):
            yield from self._read_table(root, unit, options)
            return
        text = _unix_lines(decode(_file(root, unit).read_bytes()))
        yield _document(strip_boilerplate(text), unit.path, 0, options)

    def _read_table(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Join the paragraphs of each book that begins in this row group.

        The rows that finish the book of the row group before belong to that one; the last book is read on
        into the row groups that follow, in the next file as well.
        """
        units = [each for each in self.units(root) if each.path.endswith(".parquet")]
        index = units.index(unit)
        unfinished = _last_book(root, units[index - 1]) if index else None
        rows = (row for each in units[index:] for row in _rows(root, each))
        for number, (book_name, book) in enumerate(groupby(rows, key=lambda row: row[2])):
            begun_in, position, _, paragraph = next(book)
            if begun_in != unit:
                return
            if number > 0 or book_name != unfinished:
                paragraphs = [paragraph, *(row[3] for row in book)]
                text = "\n\n".join(each.strip("\n") for each in paragraphs if each and not each.isspace())
                yield _document(strip_boilerplate(_unix_lines(text)), unit.path, position, options)


def _document(book: str, source: str, position: int, options: ReadOptions) -> Document | Drop:
    if not book.strip():
        return Drop("empty", source, position, "nothing between header and footer")
    return Document(unwrap(book) if options.unwrap_paragraphs else book, source, position)


def _unix_lines(text: str) -> str:
    """End every line in "\\n"; a doubled carriage return (`\\r\\r\\n`) is one end of line, not two."""
    if "\r" not in text:
        return text
    return text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")


def _file(root: Path, unit: Unit) -> Path:
    return root if root.is_file() else root / unit.path


def _units_of_file(path: Path, relative: str) -> list[Unit]:
    size = path.stat().st_size
    if path.suffix != ".parquet":
        return [Unit(relative, size)]
    with pq.ParquetFile(path) as table:
        groups = table.metadata.num_row_groups
    return [Unit(relative, size // groups, group, group + 1) for group in range(groups)]


def _rows(root: Path, unit: Unit) -> Iterator[tuple[Unit, int, str, str | None]]:
    """Stream `(unit, row within the file, book name, paragraph)` of one row group."""
    with pq.ParquetFile(_file(root, unit)) as table:
        position = sum(table.metadata.row_group(group).num_rows for group in range(unit.start))
        for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=[unit.start], columns=_COLUMNS):
            names, paragraphs = (batch.column(column).to_pylist() for column in _COLUMNS)
            for book_name, paragraph in zip(names, paragraphs, strict=True):
                yield unit, position, book_name, paragraph
                position += 1


def _last_book(root: Path, unit: Unit) -> str | None:
    """Name of the book that the last row of a row group belongs to."""
    with pq.ParquetFile(_file(root, unit)) as table:
        names = table.read_row_group(unit.start, columns=_COLUMNS[:1]).column(0)
    return names[-1].as_py() if len(names) else None
