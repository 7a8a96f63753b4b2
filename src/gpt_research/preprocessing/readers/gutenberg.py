"""Project Gutenberg: plain-text books, or the hub's form of one row per paragraph.

A plain-text file is one document. In a hub table, consecutive rows with one `book_name` are one
document, even if they continue in the next row group or file. Licence, small print and producers'
credits are removed (see `book`). The content decides the character set, because the line in the
header that names it is often wrong.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from gpt_research.preprocessing.document import Document, Drop, MissingTextError, ReadOptions, Record, Unit
from gpt_research.preprocessing.formats.book import strip_boilerplate, unwrap
from gpt_research.preprocessing.formats.fields import find_text_key, text_of
from gpt_research.preprocessing.formats.files import form_of, relative, table_files, unit_file, walk
from gpt_research.preprocessing.formats.streams import MAX_RECORD, decompressed
from gpt_research.preprocessing.formats.tables import cut, records
from gpt_research.preprocessing.text.damage import BLANK_LINES
from gpt_research.preprocessing.text.decoding import decode, sign_of_binary

_BOOK, _PARAGRAPH = "book_name", "paragraph"
_SUFFIXES = (".txt", ".text", ".utf8", ".txt.gz", ".txt.bz2", ".txt.xz", ".txt.zst")


class GutenbergReader:
    """Books as files, or as tables with the columns `book_name, paragraph`."""

    name = "gutenberg"
    licence = "Public domain in the USA (Project Gutenberg); other countries' terms may differ."

    def units(self, root: Path) -> list[Unit]:
        """Return one unit for each book and the units of each table, in the order of the paths."""
        tables = {path for path in table_files(root) if form_of(path).is_table}
        units: list[Unit] = []
        for path in walk(root):
            if path in tables:
                units += cut(path, root)
            elif path == root or path.name.lower().endswith(_SUFFIXES):
                units.append(Unit(relative(path, root), path.stat().st_size))
        return units

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Yield each book without the text that Project Gutenberg put around it."""
        path = unit_file(root, unit)
        if form_of(path).is_table:
            yield from self._read_table(root, unit, options)
            return
        data = _bytes_of(path, unit.size)
        if len(data) > MAX_RECORD:
            yield Drop("book_too_long", unit.path, 0, f"over {MAX_RECORD >> 20} MB", broken=True)
            return
        if sign := sign_of_binary(data):
            yield Drop("not_text", unit.path, 0, sign)
            return
        yield _document(_decoded(data), unit.path, 0, options)

    def documents(self, items: Iterable[Record | Drop], source: str, options: ReadOptions) -> Iterator[Document | Drop]:
        """Join the rows of each book. In a table without `book_name`, every row is a book."""
        for _, book in groupby(items, key=_book_of):
            paragraphs = []
            first = None
            for item in book:
                text = item if isinstance(item, Drop) else _paragraph(item, source, options)
                if isinstance(text, str):
                    first = item[0] if first is None and not isinstance(item, Drop) else first
                    paragraphs.append(text.strip("\n"))
                elif text.broken:
                    yield text
            if first is not None:
                yield _document(_unix_lines("\n\n".join(paragraphs)), source, first, options)

    def _read_table(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Yield the books that begin in this unit.

        Rows at its beginning that finish a book of the unit before are skipped. The last book of
        this unit is read on into the units that follow, even if those are in the next file.
        """
        units = [each for each in self.units(root) if form_of(unit_file(root, each)).is_table]
        index = units.index(unit)
        unfinished = _last_book(root, units[index - 1]) if index else None
        yield from self.documents(_whole_books(root, units[index:], unfinished, options), unit.path, options)


def _whole_books(
    root: Path, units: Sequence[Unit], unfinished: str | None, options: ReadOptions
) -> Iterator[Record | Drop]:
    """Yield the first unit's rows but those of the unfinished book, then the rest of its last
    one."""
    last: str | None = None
    for number, unit in enumerate(units):
        for item in records(unit_file(root, unit), unit, partial(_columns, options=options)):
            book = None if isinstance(item, Drop) else item[1].get(_BOOK)
            if number and (book is None or book != last):
                return
            if not number and unfinished is not None:
                if book == unfinished:
                    continue
                unfinished = None
            last = book
            yield item
        if last is None:
            return


def _last_book(root: Path, unit: Unit) -> str | None:
    """Return the name of the book in the last row of a unit."""
    last = None
    for item in records(unit_file(root, unit), unit, lambda names: [name for name in names if name == _BOOK]):
        if not isinstance(item, Drop):
            last = item[1].get(_BOOK)
    return last


def _columns(names: Sequence[str], options: ReadOptions) -> list[str]:
    if _BOOK in names and _PARAGRAPH in names:
        return [_BOOK, _PARAGRAPH]
    return [find_text_key(names, options.text_key)]


def _book_of(item: Record | Drop) -> object:
    """Return a key that the rows of one book share. A row without a name has its own key."""
    if isinstance(item, Drop):
        return id(item)
    book = item[1].get(_BOOK)
    return (item[0],) if book is None else book


def _paragraph(item: Record, source: str, options: ReadOptions) -> str | Drop:
    position, record = item
    try:
        return text_of(record[_columns(list(record), options)[-1]], source, position)
    except MissingTextError as error:
        return Drop("no_text_key", source, position, str(error)[:400], broken=True)


def _bytes_of(path: Path, size: int) -> bytes:
    """Return a file's decompressed content, up to one byte more than `MAX_RECORD`."""
    # A small buffer is enough to tell the codec, and everything that goes through a buffer is
    # copied once more.
    with decompressed(io.BufferedReader(io.FileIO(path), 512)) as file:
        data = file.read(min(size, MAX_RECORD) + 1)
        return data + file.read(MAX_RECORD + 1 - len(data)) if len(data) > size else data


_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_RETURN, _NEWLINE = b"\r\n"


def _decoded(data: bytes) -> str:
    """Decode a book and end every line in "\\n"."""
    signs = np.frombuffer(data, dtype=np.uint8)
    lone = (signs[:-1] == _RETURN) & (signs[1:] != _NEWLINE)
    if lone.any() or data.endswith(b"\r") or data.startswith(_WIDE_MARKS):
        return _unix_lines(decode(data))
    return decode(data.replace(b"\r", b""))  # five times as fast as `replace(b"\r\n", b"\n")`


def _unix_lines(text: str) -> str:
    """End every line in "\\n"; a doubled carriage return (`\\r\\r\\n`) is one line end, not two."""
    if "\r" not in text:
        return text
    # Python's universal newlines do the rest, twice as fast as `replace`.
    return io.IncrementalNewlineDecoder(None, translate=True).decode(text.replace("\r\r\n", "\n"), final=True)


def _document(text: str, source: str, position: int, options: ReadOptions) -> Document | Drop:
    book = strip_boilerplate(text)
    if not book or book.isspace():
        return Drop("empty", source, position, "nothing between header and footer")
    # Nearly every book has several blank lines in a row. Without them the repair that follows finds
    # nothing to do.
    book = BLANK_LINES.sub("\n\n", book)
    return Document(unwrap(book) if options.unwrap_paragraphs else book, source, position)
