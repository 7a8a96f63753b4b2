"""Rows of a CSV file: read at the speed of splitting, recovered after a torn row, and found for
cutting the file.

A row ends at the first line end with an even number of quotes before it. If it then splits into
fields as a CSV writer makes them, the result is used. Any other row goes through the standard
library's strict parser, and if that fails, once more with its backslashes read as escapes.

A quote that is never closed swallows the rows after it. The look of the rows (a number or a quote
at the start) and the characters around their quotes then show where the next whole row begins, so
that only the torn one is lost. The same signs show where a file can be cut.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gpt_research.preprocessing.document import Drop, MissingTextError, Record
from gpt_research.preprocessing.formats.csv_dialect import Dialect, dialect_of
from gpt_research.preprocessing.formats.streams import lines
from gpt_research.preprocessing.text.decoding import decode

MAX_ROW = 16 << 20
"""Bytes of the longest row, for each of which the strict parser takes four bytes of memory."""
_FIRST_ROWS = 16

_ESCAPE = re.compile(rb'\\(["\\])')
_ODD_QUOTES = re.compile(rb'(?<!")"(?:"")*(?!")')


class _LineTooLongError(csv.Error):
    pass


class Feed:
    """The lines that begin in bytes `start` to `stop`. Those of the current row can be read
    again."""

    def __init__(self, path: Path, dialect: Dialect, start: int = 0, stop: int = -1) -> None:
        self._lines = lines(path, start, stop, has_returns=dialect.has_returns)
        if dialect.has_directive and start == 0:
            next(self._lines)
        self._again: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.position = start
        """Offset in the file of the current row."""
        self.next = start
        """Offset of the line that comes next."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            line: bytes | None
            if self._again:
                line = self._again.popleft()
            elif item := next(self._lines, None):
                self.next, line = item
            else:
                return
            if not self.taken:
                self.position = self.next
            if line is None or len(line) > MAX_ROW:
                raise _LineTooLongError(f"a line of over {MAX_ROW >> 20} MB")
            self.next += len(line) + 1
            self.taken.append(line)
            yield line

    def again(self, index: int = 0) -> None:
        """Put the lines of the current row back, from `index` on."""
        back = self.taken[index:]
        self._again.extendleft(reversed(back))
        self.next -= sum(map(len, back)) + len(back)
        self.taken.clear()

    def resume(self, look: str, delimiter: str) -> None:
        """Put back the lines of the current, torn row from the first one on that seems to begin
        another row.

        Such a line has the look of the others, and the quotes after it do not close a field. If the
        rows have no common look, the line must contain quotes that open a field.
        """
        rest = b"\n".join(self.taken[1:])
        at = end = 0
        kind = ""
        for index, line in enumerate(self.taken[1:], start=1):
            if end <= at:
                end, kind = telling_quote(rest, at, delimiter) or (len(rest) + 1, "")
            begins = look_of(line) == look and kind != "closes" if look else kind == "opens" and end <= at + len(line)
            if begins:
                self.again(index)
                return
            at += len(line) + 1

    def skip_to(self, look: str) -> None:
        """Discard lines until one has the look of a row's start."""
        for line in self:
            if look_of(line) == look:
                self.again()
                return
            self.taken.clear()


def look_of(line: bytes) -> str:
    """Return the look of a row's start, `digit` or `quote`, or nothing if it has none."""
    if line[:1].isdigit():
        return "digit"
    # Two quotes are an escaped one, so the line is in the middle of a field.
    return "quote" if line.startswith(b'"') and not line.startswith(b'""') else ""


def telling_quote(data: bytes, at: int, delimiter: str) -> tuple[int, str] | None:
    """Return the end of the next odd run of quotes, and whether it `opens` or `closes` a field (or
    "": unclear).

    An even run is an escaped quote or an empty field and changes nothing. In a file that follows
    the rules of CSV, an odd run opens a field only after a delimiter or line end, and closes one
    only before a delimiter or line end. So the answer may be unclear, but it is never wrong. None
    if there is no odd run.
    """
    quotes = _ODD_QUOTES.search(data, at)
    if quotes is None:
        return None
    start, end, borders = quotes.start(), quotes.end(), (b"", b"\r", b"\n", delimiter.encode())
    follows, leads = data[max(start - 1, 0) : start] in borders, data[end : end + 1] in borders
    return end, "" if follows == leads else "opens" if follows else "closes"


def plain_row(feed: Feed, delimiter: str) -> list[str] | None:
    """Return the next row, [] at the end of the file, None if the row is not written as usual."""
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
    row = decode(b"\n".join(feed.taken), dos=False).removesuffix("\r")
    if not quotes:
        return row.split(delimiter) if "\r" not in row else None
    return _split_quoted(row.split('"'), delimiter) if quotes % 2 == 0 else None


def _split_quoted(parts: list[str], delimiter: str) -> list[str] | None:
    """Return the fields of a row that was split at its quotes: even parts are outside of quotes,
    odd ones inside.

    None if an outside part is next to a quote without a delimiter between them.
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


def strict_row(feed: Feed, delimiter: str, *, has_escapes: bool = False) -> list[str]:
    """Return the next row as the standard library's strict parser reads it.

    The lenient parser would read a torn row and the row after it as a single good one.

    Args:
        has_escapes: a backslash before a quote or a backslash escapes it, as some databases write.

    Raises:
        csv.Error: the row is torn.
    """
    csv.field_size_limit(MAX_ROW)
    lines = (_ESCAPE.sub(_unescaped, line) if has_escapes else line for line in feed)
    text = (decode(line, dos=False) + "\n" for line in lines)
    return next(csv.reader(text, delimiter=delimiter, strict=True), [])


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return b'""' if escape[1] == b'"' else b"\\"


def unusual_row(feed: Feed, delimiter: str, width: int) -> list[str]:
    """Return the next row, which is not written as usual, with `width` fields if it has so many.

    Raises:
        csv.Error: the row is torn.
    """
    row, torn = None, None
    try:
        row = strict_row(feed, delimiter)
    except _LineTooLongError:
        raise
    except csv.Error as error:
        torn = error
    if (row is None or len(row) != width) and any(b'\\"' in line for line in feed.taken):
        feed.again()
        with contextlib.suppress(csv.Error):
            escaped = strict_row(feed, delimiter, has_escapes=True)
            row = escaped if row is None or len(escaped) == width else row
    if row is None:
        raise torn or csv.Error("torn")
    return row


def has_row(feed: Feed, delimiter: str, width: int) -> bool:
    """Read the next row; return whether it is written as usual and has `width` fields."""
    feed.taken.clear()
    try:
        row = plain_row(feed, delimiter)
    except _LineTooLongError:
        return False
    return row is not None and len(row) == width


def read_head(path: Path, dialect: Dialect) -> tuple[list[str], str]:
    """Return the names of the columns, and the look that the first rows share, if any."""
    feed, delimiter = Feed(path, dialect), dialect.delimiter
    header = strict_row(feed, delimiter)
    looks = set()
    for _ in range(_FIRST_ROWS):
        if not has_row(feed, delimiter, len(header)):
            break
        looks.add(look_of(feed.taken[0]))
    return header, looks.pop() if len(looks) == 1 else ""


def csv_records(
    path: Path,
    source: str,
    columns: Callable[[Sequence[str]], list[str]],
    likely_delimiter: str,
    start: int = 0,
    stop: int = -1,
) -> Iterator[Record | Drop]:
    """Stream the chosen columns of a CSV file with a header line. A torn row becomes a drop.

    `start` and `stop` are byte offsets at which a row begins (see `row_starts`), or 0 and -1 for
    the whole file.
    """
    dialect = dialect_of(path, likely_delimiter)
    (header, look), delimiter = read_head(path, dialect), dialect.delimiter
    try:
        chosen = [(name, header.index(name)) for name in columns(header)]
    except MissingTextError as error:
        if start == 0:
            yield Drop("no_text_key", source, 0, str(error), broken=True)
        return
    feed = Feed(path, dialect, start, stop)
    if start == 0:
        strict_row(feed, delimiter)
    torn = False
    while True:
        feed.taken.clear()
        reason, problem, row = "torn_row", "", None
        try:
            if torn and look:
                feed.skip_to(look)
            row = plain_row(feed, delimiter)
            if row == []:
                return
            if row is None or len(row) != len(header):
                feed.again()
                row = unusual_row(feed, delimiter, len(header))
        except _LineTooLongError as error:
            reason, problem, row = "line_too_long", str(error), None
        except csv.Error as error:
            problem, row = str(error), None
        torn = row is None
        if row is not None and len(row) == len(header):
            yield feed.position, {name: row[index] for name, index in chosen}
        elif row != []:
            excerpt = decode(feed.taken[0][:80], dos=False) if feed.taken else ""
            problem = problem or f"{len(row or [])} fields instead of {len(header)}"
            yield Drop(reason, source, feed.position, f"{problem}: {excerpt}", broken=True)
            feed.resume(look, delimiter)


# --- where a file can be cut ----------------------------------------------------------------------
#
# A line may begin within a quoted field. The characters around the next quotes after it tell (see
# `telling_quote`), and in a file that follows the rules of CSV they tell nothing wrong. In other
# files the row that begins there must also have as many fields as the header. If nothing is
# certain, the file is not cut there.

_BLOCK = 1 << 16
_FAR = 1 << 20
"""Bytes without a quote that are more than a torn text is assumed to have."""
_TRIES = 64
"""Rows that are tried for one cut, because a file with many torn rows is soon left whole."""


def row_starts(path: Path, likely_delimiter: str, wanted: Iterable[int]) -> Iterator[int]:
    """Yield the offset of the first sure row at or after each of the rising offsets, each once."""
    dialect, last = dialect_of(path, likely_delimiter), 0
    if dialect.has_returns:
        return
    (header, look), delimiter = read_head(path, dialect), dialect.delimiter
    with open(path, "rb") as file:
        quotes = _Quotes(file, path.stat().st_size, delimiter)
        for at in wanted:
            if at > last and (start := _row_start(path, at, header, look, quotes, dialect)):
                last = start
                yield start


def _row_start(path: Path, wanted: int, header: list[str], look: str, quotes: _Quotes, dialect: Dialect) -> int:
    """Return the offset of the first sure row at or after `wanted`, 0 if there is none near."""
    tries = 0
    for start, line in lines(path, wanted, wanted + MAX_ROW):
        if line is None or tries == _TRIES:
            break
        if look and look_of(line) != look:
            continue
        end, opens = quotes.after(start)
        # If a quote was never closed, the lines of its text look as if the next row's quotes
        # belonged to them.
        if opens and (end <= start + len(line) or end - start > _FAR or end == quotes.size):
            tries += 1
            if has_row(Feed(path, dialect, start), dialect.delimiter, len(header)):
                return start
    return 0


class _Quotes:
    """The next odd run of quotes after a line. For lines in rising order no byte is read twice."""

    def __init__(self, file: BinaryIO, size: int, delimiter: str) -> None:
        self.size = size
        self._file = file
        self._delimiter = delimiter
        self._known = range(0)
        self._opens = False

    def after(self, start: int) -> tuple[int, bool]:
        """Return the end of the next odd run after `start` > 0, and whether it opens a field."""
        if start not in self._known:
            end, kind = self._search(start)
            self._known, self._opens = range(start, end), kind == "opens"
        return self._known.stop, self._opens

    def _search(self, start: int) -> tuple[int, str]:
        at = start
        while at < self.size:
            # The byte before `at` is read too, because it tells about quotes at `at`.
            data = self._read(at - 1, _BLOCK)
            at_end = at - 1 + len(data) >= self.size
            # Quotes at the end of a block may continue in the next.
            whole = len(data) if at_end else len(data.rstrip(b'"'))
            first = data.find(b'"', 1, whole)
            if first > 0 and (quotes := telling_quote(data[:whole], first, self._delimiter)):
                return at - 1 + quotes[0], quotes[1]
            if whole <= 1:
                return at - 1 + len(data), ""
            at += whole - 1
        # There are none to the end, so `start` is outside of a field, unless the file ends inside
        # the last field.
        return self.size, "" if self._last_before(start) == "opens" else "opens"

    def _last_before(self, start: int) -> str:
        begin = max(start - _FAR, 0)
        data, at, kind = self._read(begin, start - begin), 0, ""
        while quotes := telling_quote(data, at, self._delimiter):
            at, kind = quotes
        return kind

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)
