"""Records of JSON lines, and of a file that is one JSON value.

The content decides which of the two a file is, because both have either suffix.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from gpt_research.preprocessing.document import Drop, Record, Unit
from gpt_research.preprocessing.formats.streams import MAX_RECORD, lines_of, open_bytes

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"\s+")


def json_records(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Stream the records of a unit of a JSON file."""
    with open_bytes(path) as file:
        yield from json_values(file, unit.path, unit.start, unit.stop)


def json_values(file: io.BufferedReader, source: str, start: int = 0, stop: int = -1) -> Iterator[Record | Drop]:
    """Stream the records of an open file. The position of a record is its byte offset in JSON
    lines, and the index of its item in a list.
    """
    if start > 0 or is_lines(file):
        yield from _json_lines(file, source, start, stop)
    else:
        yield from _whole_json(file, source)


def _json_lines(file: io.BufferedReader, source: str, start: int, stop: int) -> Iterator[Record | Drop]:
    loads, error = orjson.loads, orjson.JSONDecodeError
    for position, line in lines_of(file, start, stop):
        if line is None:
            yield Drop("line_too_long", source, position, f"over {MAX_RECORD >> 20} MB", broken=True)
            continue
        try:
            value = loads(line)
        except error as problem:
            if not line.strip():
                continue
            values = _parsed_leniently(line, source, position, str(problem))
            if isinstance(values, Drop):
                yield values
            else:
                yield from (_as_record(value, source, position) for value in values)
            continue
        yield _as_record(value, source, position)


def _whole_json(file: io.BufferedReader, source: str) -> Iterator[Record | Drop]:
    """Yield the records of a file of JSON values over many lines: the items of a list, or the value
    or values themselves.
    """
    data = file.read(4 * MAX_RECORD + 1)
    if len(data) > 4 * MAX_RECORD:
        detail = f"one JSON value of over {4 * MAX_RECORD >> 20} MB; write it as JSON lines"
        yield Drop("json_too_large", source, 0, detail, broken=True)
        return
    values = _parsed_leniently(data, source, 0, "not a JSON value")
    if isinstance(values, Drop):
        yield values
        return
    for position, value in enumerate(values[0] if isinstance(values[0], list) else values):
        yield _as_record(value, source, position)


def holds_lines(path: Path) -> bool:
    """Return whether a file holds JSON lines, rather than one value over the whole file."""
    with open_bytes(path) as file:
        return is_lines(file)


def is_lines(file: io.BufferedReader) -> bool:
    """Return whether a file that was just opened holds JSON lines, without moving in it."""
    head = file.peek(1).removeprefix(codecs.BOM_UTF8).lstrip()
    first, _, rest = head.partition(b"\n")
    if first.startswith(b"["):
        # If a line follows that is a value too, then this list is one of many.
        return _is_whole(first) and rest.lstrip().startswith((b"[", b"{"))
    if first.startswith(b"{") and not _is_whole(first):
        # The second line of an object over many lines is inside of it. If the first line is
        # damaged, or longer than what was read, the next one is an object too, or there is none.
        second = rest.lstrip(b"\r\n")
        return not second or second.startswith(b"{")
    return True


def _is_whole(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _parsed_leniently(data: bytes, source: str, position: int, problem: str) -> Drop | list[Any]:
    """Return the values one after another, at least one, also if Python wrote what JSON forbids
    (NaN, lone surrogates); or a drop.
    """
    try:
        text, at = data.decode("utf-8-sig").strip(), 0
        values: list[Any] = []
        while at < len(text) or not values:
            value, at = _DECODER.raw_decode(text, at)
            values.append(value)
            if blanks := _BLANKS.match(text, at):
                at = blanks.end()
        # Half a surrogate pair cannot be encoded later; two halves become the character they stand
        # for.
        utf16 = json.dumps(values, ensure_ascii=False).encode("utf-16", "surrogatepass")
        return list(json.loads(utf16.decode("utf-16", "replace")))
    except UnicodeDecodeError as error:
        reason, problem = "invalid_utf8", str(error)
    except (ValueError, RecursionError):
        reason = "invalid_json"
    excerpt = data[:80].decode("utf-8", "replace")
    return Drop(reason, source, position, f"{problem[:120]}: {excerpt}", broken=True)


def _as_record(value: Any, source: str, position: int) -> Record | Drop:
    if isinstance(value, dict):
        return position, value
    if isinstance(value, str):
        return position, {"text": value}
    return Drop("not_an_object", source, position, repr(value)[:80], broken=True)
