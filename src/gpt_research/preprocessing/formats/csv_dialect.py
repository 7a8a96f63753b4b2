"""How a CSV file is written: what stands between its fields, and how its rows end.

The header tells. The suffix only says which delimiter is tried first, because spreadsheets write
semicolons where the comma is the decimal sign, and tabs or bars under any suffix.
"""

from __future__ import annotations

import codecs
import csv
import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gpt_research.preprocessing.formats.streams import open_bytes
from gpt_research.preprocessing.text.decoding import decode

_DELIMITERS = (",", ";", "\t", "|")
_HEAD = 1 << 16
_ROWS = 16
"""Rows that must have as many fields as the header, if the header has several delimiters."""
_QUOTED_OR_END = re.compile(rb'"(?:[^"]|"")*"|\r\n?|\n')
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_DIRECTIVE = re.compile(rb'"?sep=([^\r\n"])"?(?:\r\n?|\n)', re.IGNORECASE)


class Dialect(NamedTuple):
    """How a CSV file is written."""

    delimiter: str
    has_returns: bool = False
    """True if a row ends in a carriage return alone, as old programs for the Mac write it."""
    has_directive: bool = False
    """True if a line before the header names the delimiter, as Excel writes it."""


def dialect_of(path: Path, likely: str) -> Dialect:
    """Return how a file is written.

    Args:
        likely: the delimiter that is taken if the header does not tell.
    """
    with open_bytes(path) as file:
        head = file.peek(1)[:_HEAD].removeprefix(codecs.BOM_UTF8)
    directive = _DIRECTIVE.match(head)
    rest = head[directive.end() :] if directive else head
    end = next((match for match in _QUOTED_OR_END.finditer(rest) if match[0][:1] != b'"'), None)
    has_returns = end is not None and end[0] == b"\r"
    if directive:
        return Dialect(directive[1].decode("latin-1"), has_returns, has_directive=True)
    header = _QUOTED.sub("", decode(rest[: end.start()] if end else rest, dos=False))
    found = [delimiter for delimiter in dict.fromkeys((likely, *_DELIMITERS)) if delimiter in header]
    if len(found) > 1:
        lines = re.split("\r\n?|\n", decode(rest, dos=False))
        # The last line may be cut.
        found = [each for each in found if _is_even(lines[:-1] or lines, each)] or found
    return Dialect(found[0] if found else likely, has_returns)


def _is_even(lines: list[str], delimiter: str) -> bool:
    """Return whether the first rows have as many fields as the header."""
    rows = islice(csv.reader((line + "\n" for line in lines), delimiter=delimiter), _ROWS)
    # The last of them may be cut by the end of what was read.
    return len({len(row) for row in list(rows)[:-1] if row}) <= 1
