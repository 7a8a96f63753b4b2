"""Where a CSV file can be cut: at lines that begin a row, found near the wanted places.

The rest of the file is read only, and only once, where no quotes follow.

A line may begin within a quoted field. What the next quotes after it stand between tells (see `telling_quote`); in
a file that is written by the rules, never wrongly. For one that is not, the row that begins there must also split
into as many fields as the header has. Where nothing is sure there is no cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from gpt_research.preprocessing.formats.csv_rows import MAX_ROW, Feed, has_row, look_of, read_head, telling_quote
from gpt_research.preprocessing.formats.streams import lines

_BLOCK = 1 << 16
_FAR = 1 << 20
"""Bytes without a quote that no torn text is taken to have."""
_TRIES = 64
"""Rows read for one cut: a file that is torn all over is left whole soon."""


def row_starts(path: Path, delimiter: str, wanted: Iterable[int]) -> Iterator[int]:
    """Yield, for each of the rising offsets, that of the first row which surely begins there or later; none twice."""
    header, look = read_head(path, delimiter)
    last = 0
    with open(path, "rb") as file:
        quotes = _Quotes(file, path.stat().st_size, delimiter)
        for at in wanted:
            if at > last and (start := _row_start(path, at, header, look, quotes, delimiter)):
                last = start
                yield start


def _row_start(path: Path, wanted: int, header: list[str], look: str, quotes: _Quotes, delimiter: str) -> int:
    """Return the first sure one at or after the offset `wanted`, 0 where there is none near."""
    tries = 0
    for start, line in lines(path, wanted, wanted + MAX_ROW):
        if line is None or tries == _TRIES:
            break
        if look and look_of(line) != look:
            continue
        end, opens = quotes.after(start)
        # After a quote that was never closed, the lines of its text look as if the next row's quotes were theirs.
        if opens and (end <= start + len(line) or end - start > _FAR or end == quotes.size):
            tries += 1
            if has_row(Feed(path, start), delimiter, len(header)):
                return start
    return 0


class _Quotes:
    """The next odd run of quotes after a place in the file; asked in rising order, it reads no byte twice."""

    def __init__(self, file: BinaryIO, size: int, delimiter: str) -> None:
        self.size = size
        self._file = file
        self._delimiter = delimiter
        self._known = range(0)
        self._opens = False

    def after(self, start: int) -> tuple[int, bool]:
        """Return where those after the line that begins at `start` > 0 end, and whether they surely open a field."""
        if start not in self._known:
            end, kind = self._search(start)
            self._known, self._opens = range(start, end), kind == "opens"
        return self._known.stop, self._opens

    def _search(self, start: int) -> tuple[int, str]:
        at = start
        while at < self.size:
            data = self._read(at - 1, _BLOCK)  # with the byte before, which the quotes may follow on
            at_end = at - 1 + len(data) >= self.size
            # Quotes at the end of a block may go on in the next.
            whole = len(data) if at_end else len(data.rstrip(b'"'))
            first = data.find(b'"', 1, whole)
            if first > 0 and (found := telling_quote(data[:whole], first, self._delimiter)):
                return at - 1 + found[0], found[1]
            if whole <= 1:
                return at - 1 + len(data), ""
            at += whole - 1
        # None to the end, so that it is outside of a field, unless the file is cut within the one opened last.
        return self.size, "" if self._last_before(start) == "opens" else "opens"

    def _last_before(self, start: int) -> str:
        begin = max(start - _FAR, 0)
        data, at, kind = self._read(begin, start - begin), 0, ""
        while found := telling_quote(data, at, self._delimiter):
            at, kind = found
        return kind

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)
