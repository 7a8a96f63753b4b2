"""Records of plain text files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpt_research.preprocessing.document import Drop, Record, Unit
from gpt_research.preprocessing.formats.streams import MAX_RECORD, lines, open_bytes
from gpt_research.preprocessing.text.decoding import decode

SEPARATOR = b"<|endoftext|>"
"""Divides the documents of a text file that holds several."""
_PIECE_BYTES = 1 << 20
"""Text that is one record, where a large file has no separators."""


def text_records(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Yield a text file as one record, one for each part between separators, or in pieces."""
    if unit.start == 0 and unit.stop < 0:
        with open_bytes(path) as file:
            data = file.read(MAX_RECORD + 1)
        if len(data) <= MAX_RECORD:
            offset = 0
            for part in data.split(SEPARATOR) if SEPARATOR in data else [data]:
                if offset == 0 or part.strip():
                    yield offset, {"text": decode(part, dos=False)}
                offset += len(part) + len(SEPARATOR)
            return
    held: list[bytes] = []
    begin = size = 0
    for position, line in lines(path, unit.start, unit.stop):
        if line is None:
            yield Drop("line_too_long", unit.path, position, f"over {MAX_RECORD >> 20} MB", broken=True)
            continue
        ends = line.strip() == SEPARATOR
        if not ends:
            begin = begin if held else position
            held.append(line)
            size += len(line) + 1
        if held and (ends or size >= _PIECE_BYTES):
            yield begin, {"text": decode(b"\n".join(held), dos=False)}
            held, size = [], 0
    if held:
        yield begin, {"text": decode(b"\n".join(held), dos=False)}
