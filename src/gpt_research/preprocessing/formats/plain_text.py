"""Records of plain text: a file is one, or each part between separators.

`<|endoftext|>` divides documents wherever it stands, in files of any size. A large file is cut into
units right after separators; without a separator it is cut at ends of lines, and its records are
pieces of about a megabyte.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from gpt_research.preprocessing.document import Drop, Record, Unit
from gpt_research.preprocessing.formats.streams import MAX_RECORD, lines, open_bytes
from gpt_research.preprocessing.text.decoding import decode, sign_of_binary

SEPARATOR = b"<|endoftext|>"
"""Divides the documents of a text file that holds several."""
_PIECE_BYTES = 1 << 20
"""Text that is one record, where a large file has no separators."""
_BLOCK = 1 << 20


def cut_text(path: Path, name: str, size: int, wanted: Sequence[int]) -> list[Unit]:
    """Cut a text file that is not compressed into units.

    Args:
        wanted: the rising offsets near which it shall be cut.
    """
    borders = [0]
    with open(path, "rb", buffering=0) as file:
        if (first := _after_separator(file, 0)) is None:
            borders += wanted
        else:
            for at in wanted:
                # The next separator after one offset may be the next after several.
                if at > borders[-1]:
                    found = first if first >= at else _after_separator(file, at - len(SEPARATOR))
                    if found is None or found >= size:
                        break
                    borders.append(found)
    if len(borders) == 1:
        return [Unit(name, size)]
    return [Unit(name, stop - start, start, stop) for start, stop in pairwise([*borders, size])]


def _after_separator(file: io.FileIO, at: int) -> int | None:
    """Return the offset after the first separator at or after `at`, or None if there is none."""
    file.seek(at)
    held = b""
    while block := file.read(_BLOCK):
        held += block
        if (found := held.find(SEPARATOR)) >= 0:
            return at + found + len(SEPARATOR)
        at += max(len(held) - len(SEPARATOR), 0)
        held = held[-len(SEPARATOR) :]
    return None


def text_records(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Yield the records of a unit of a text file."""
    if unit.stop < 0 or _is_between_separators(path, unit):
        with open_bytes(path) as file:
            if unit.start:
                file.seek(unit.start)
            yield from divided(file, unit.path, unit.start, unit.stop)
    else:
        yield from _pieces(path, unit)


def _is_between_separators(path: Path, unit: Unit) -> bool:
    """Return whether `cut_text` cut a unit at separators; if it did, one stands before its start or
    its end.
    """
    with open(path, "rb") as file:
        file.seek((unit.start or unit.stop) - len(SEPARATOR))
        return file.read(len(SEPARATOR)) == SEPARATOR


def divided(file: io.BufferedReader, source: str, offset: int = 0, stop: int = -1) -> Iterator[Record | Drop]:
    """Yield the parts between separators of a stream that stands at `offset`.

    A part of over `MAX_RECORD` bytes is cut into pieces, because memory is bounded.
    """
    begin, searched, in_pieces = offset, 0, False
    held = bytearray()
    while block := file.read(_BLOCK if stop < 0 else min(_BLOCK, stop - offset)):
        held += block
        offset += len(block)
        while (end := held.find(SEPARATOR, searched)) >= 0:
            part = bytes(held[:end])
            if begin == 0 or part.strip():
                yield _record(part, source, begin)
            del held[: end + len(SEPARATOR)]
            begin, searched, in_pieces = begin + end + len(SEPARATOR), 0, False
        # A separator may be half read.
        searched = max(len(held) - len(SEPARATOR), 0)
        in_pieces = in_pieces or len(held) > MAX_RECORD
        while in_pieces and (end := held.find(b"\n", _PIECE_BYTES - 1, searched)) >= 0:
            yield _record(bytes(held[:end]), source, begin)
            del held[: end + 1]
            begin, searched = begin + end + 1, max(searched - end - 1, 0)
        if len(held) > MAX_RECORD:
            yield Drop("line_too_long", source, begin, f"over {MAX_RECORD >> 20} MB", broken=True)
            begin, searched = begin + len(held), 0
            held.clear()
    if begin == 0 or held.strip():
        yield _record(bytes(held), source, begin)


def _pieces(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Yield the lines that begin in a unit, about a megabyte at a time."""
    held: list[bytes] = []
    begin = size = 0
    for position, line in lines(path, unit.start, unit.stop):
        if line is None:
            yield Drop("line_too_long", unit.path, position, f"over {MAX_RECORD >> 20} MB", broken=True)
            continue
        begin = begin if held else position
        held.append(line)
        size += len(line) + 1
        if size >= _PIECE_BYTES:
            yield _record(b"\n".join(held), unit.path, begin)
            held, size = [], 0
    if held:
        yield _record(b"\n".join(held), unit.path, begin)


def _record(data: bytes, source: str, position: int) -> Record | Drop:
    if sign := sign_of_binary(data):
        return Drop("not_text", source, position, sign)
    return position, {"text": decode(data, dos=False)}
