"""CSV records at the speed of splitting, that survive a torn row.

A row ends at the first line end with an even number of quotes before it; where it then splits into fields as
a writer makes them, it is taken as it is. Any other row goes through the standard library's strict parser.
A quote that is never closed swallows the rows after it: the rows' own look (a number or a quote at the start)
tells where the next whole one begins, so that only the torn one is lost.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpt_research.corpora.document import Drop
from gpt_research.corpora.fields import MissingTextError
from gpt_research.corpora.streams import decode_text, lines

MAX_ROW = 16 << 20
"""Bytes of the longest row; the strict parser holds four bytes for each."""


class _LineTooLongError(csv.Error):
    pass


class _Feed:
    """The lines of a file, of which those of the current row are kept and can be read again."""

    def __init__(self, path: Path) -> None:
        self._lines = lines(path)
        self._again: deque[bytes] = deque()
        self.taken: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        while True:
            if self._again:
                line: bytes | None = self._again.popleft()
            elif item := next(self._lines, None):
                line = item[1]
            else:
                return
            if line is None or len(line) > MAX_ROW:
                raise _LineTooLongError(f"a line of over {MAX_ROW >> 20} MB")
            self.taken.append(line)
            yield line

    def again(self, index: int = 0) -> None:
        """Put the lines of the current row back, from `index` on."""
        self._again.extendleft(reversed(self.taken[index:]))
        self.taken.clear()

    def resume(self, look: str) -> None:
        """Put back the current row's lines from the next one that looks like the start of a row."""
        for index, line in enumerate(self.taken[1:], start=1):
            if look and _look(line) == look:
                self.again(index)
                return


def _look(line: bytes) -> str:
    """Return what the start of a row looks like, or nothing where it could be anything."""
    if line[:1].isdigit():
        return "digit"
    # Two quotes are an escaped one: a line within a field.
    return "quote" if line.startswith(b'"') and not line.startswith(b'""') else ""


def _plain_row(feed: _Feed, delimiter: str) -> list[str] | None:
    """Return the next row if it is written in the usual way, [] at the end of the file, None if not."""
    quotes = size = 0
    for line in feed:
        quotes += line.count(b'"')
        size += len(line)
        if quotes % 2 == 0:
            break
        if size > MAX_ROW:
            return None
    if not feed.taken:
        return []
    row = decode_text(b"\n".join(feed.taken)).removesuffix("\r")
    if not quotes:
        return row.split(delimiter) if "\r" not in row else None
    return _split_quoted(row.split('"'), delimiter) if quotes % 2 == 0 else None


def _split_quoted(parts: list[str], delimiter: str) -> list[str] | None:
    """Return the fields of a row split at its quotes: even parts stand outside quotes, odd ones within.

    None where an outside part stands beside a quote without the delimiter between them.
    """
    fields = parts[0].split(delimiter)
    if fields.pop():
        return None
    held = [parts[1]]
    last = len(parts) - 1
    for index in range(2, last + 1, 2):
        outside = parts[index]
        if not outside and index < last:
            held.append(parts[index + 1])  # two quotes within a field stand for one
            continue
        fields.append('"'.join(held))
        if index == last:
            if outside:
                first, *rest = outside.split(delimiter)
                return [*fields, *rest] if not first and "\r" not in outside else None
            return fields
        first, *rest = outside.split(delimiter)
        if first or not rest or rest.pop() or "\n" in outside:
            return None
        fields += rest
        held = [parts[index + 1]]
    return fields


def _strict_row(feed: _Feed, delimiter: str) -> list[str]:
    """Return the next row as the standard library reads it; raises `csv.Error` where it is torn.

    Strict, for the lenient parser takes a torn row and the one after it for a single good row.
    """
    text = (decode_text(line) + "\n" for line in feed)
    return next(csv.reader(text, delimiter=delimiter, strict=True), [])


def csv_records(
    path: Path, source: str, columns: Callable[[Sequence[str]], list[str]], delimiter: str
) -> Iterator[tuple[int, dict[str, Any]] | Drop]:
    """Stream the chosen columns of a CSV file with a header line; a torn row comes as a drop."""
    csv.field_size_limit(MAX_ROW)
    feed = _Feed(path)
    header = _strict_row(feed, delimiter)
    try:
        chosen = [(name, header.index(name)) for name in columns(header)]
    except MissingTextError as error:
        yield Drop("no_text_key", source, 0, str(error), broken=True)
        return
    look: str | None = None
    position = -1
    while True:
        feed.taken.clear()
        position += 1
        reason, problem, row = "torn_row", "", None
        try:
            row = _plain_row(feed, delimiter)
            if row == []:
                return
            if row is None or len(row) != len(header):
                feed.again()
                row = _strict_row(feed, delimiter)
        except _LineTooLongError as error:
            reason, problem, row = "line_too_long", str(error), None
        except csv.Error as error:
            problem, row = str(error), None
        if row is not None and len(row) == len(header):
            if look is None:
                look = _look(feed.taken[0])
            yield position, {name: row[index] for name, index in chosen}
        elif row != []:
            excerpt = decode_text(feed.taken[0][:80]) if feed.taken else ""
            problem = problem or f"{len(row or [])} fields instead of {len(header)}"
            yield Drop(reason, source, position, f"{problem}: {excerpt}", broken=True)
            feed.resume(look or "")
