"""Rows of a file of examples: JSON lines, CSV or TSV with a header, and official files.

A row knows its line, so that every complaint can name it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gpt_research.base.errors import UserError
from gpt_research.finetuning import official

LARGEST_FIELD = 2**31 - 1
"""Characters of a field of a table; more than any file of examples has."""


@dataclass(frozen=True)
class Row:
    """One row, with the names that the file gives its columns."""

    values: Mapping[str, Any]
    where: str
    """File and line, for errors."""


def read_rows(path: Path, task: str) -> list[Row]:
    """Return the rows of a file.

    Args:
        task: chooses the columns of an official file that serves several tasks.

    Raises:
        UserError: the file is missing, empty or damaged, or of a kind that is not known.
    """
    try:
        if (known := official.reader_of(path)) is not None:
            rows = [Row(values, f"{path}, line {line}") for line, values in known(path, task)]
        elif path.suffix in (".jsonl", ".ndjson", ".json"):
            rows = list(_json_lines(path))
        elif path.suffix in (".csv", ".tsv"):
            rows = list(_table(path, "," if path.suffix == ".csv" else "\t"))
        else:
            raise UserError(
                f"{path} is no file of examples that is known: give JSON lines (.jsonl), .csv, .tsv, or an official "
                f"file ({', '.join(official.NAMES)})."
            )
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}). Convert it, such as with iconv.") from None
    except OSError as error:
        raise UserError(f"Cannot read the examples in {path}: {error.strerror}.") from None
    if not rows:
        raise UserError(f"{path} holds no example.")
    return rows


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = orjson.loads(line)
        except ValueError as error:
            raise UserError(f"{where} is no JSON ({error}). A file of JSON lines has one object a line.") from None
        if not isinstance(values, dict):
            raise UserError(f"{where} is no JSON object, but {type(values).__name__}. Give one object a line.")
        yield Row(values, where)


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    text = path.read_bytes().decode("utf-8-sig")
    # Quotes in a TSV are text; in a CSV they hold fields with commas and line breaks. The lenient
    # parser would take a stray quote for the beginning of such a field, and all rows after it.
    quotes: dict[str, Any] = {"strict": True} if delimiter == "," else {"quoting": csv.QUOTE_NONE}
    csv.field_size_limit(LARGEST_FIELD)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **quotes)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {rows.line_num + 1}"
        try:
            values = next(rows, None)
        except csv.Error as error:
            raise UserError(
                f"{where} begins a row that cannot be read ({error}). A field that begins with a quote ends with one, "
                "and a quote inside it is written twice."
            ) from None
        if values is None:
            return
        if header is None:
            header = values
            continue
        if not values:
            continue
        if len(values) != len(header):
            raise UserError(f"{where} has {len(values)} fields, but the header names {len(header)}.")
        yield Row(dict(zip(header, values, strict=True)), where)
