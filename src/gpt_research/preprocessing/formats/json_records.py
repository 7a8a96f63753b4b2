"""Records of JSON lines, and of a JSON file that is one value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from gpt_research.preprocessing.document import Drop, Record, Unit
from gpt_research.preprocessing.formats.streams import MAX_RECORD, lines, open_bytes


def json_lines(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Stream the records of a unit of JSON lines; the position of a record is its byte offset."""
    loads, error = orjson.loads, orjson.JSONDecodeError
    for position, line in lines(path, unit.start, unit.stop):
        if line is None:
            yield Drop("line_too_long", unit.path, position, f"over {MAX_RECORD >> 20} MB", broken=True)
            continue
        try:
            value = loads(line)
        except error as problem:
            if not line.strip():
                continue
            item = _parsed_leniently(line, unit.path, position, str(problem))
            if isinstance(item, Drop):
                yield item
                continue
            value = item[0]
        yield _as_record(value, unit.path, position)


def whole_json(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Yield the records of a file that is one JSON value: the items of a list, or the one value."""
    with open_bytes(path) as file:
        data = file.read(4 * MAX_RECORD + 1)
    if len(data) > 4 * MAX_RECORD:
        detail = f"one JSON value of over {4 * MAX_RECORD >> 20} MB; write it as JSON lines"
        yield Drop("json_too_large", unit.path, 0, detail, broken=True)
        return
    item = _parsed_leniently(data, unit.path, 0, "not one JSON value")
    if isinstance(item, Drop):
        yield item
        return
    for position, value in enumerate(item[0] if isinstance(item[0], list) else [item[0]]):
        yield _as_record(value, unit.path, position)


def holds_lines(path: Path) -> bool:
    """Return whether a `.json` file holds JSON lines, rather than one value over the whole file."""
    with open_bytes(path) as file:
        first = file.readline(MAX_RECORD)
    try:
        return not isinstance(orjson.loads(first), list)
    except orjson.JSONDecodeError:
        return not first.lstrip().startswith((b"[", b"{"))


def _parsed_leniently(data: bytes, source: str, position: int, problem: str) -> Drop | tuple[Any]:
    """Return (value,), also if Python wrote what JSON forbids (NaN, lone surrogates), or a drop."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
        # Half a surrogate pair cannot be encoded later; two halves become the character they stand
        # for.
        utf16 = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
        return (json.loads(utf16.decode("utf-16", "replace")),)
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
