"""Tables and texts in files: JSON lines, CSV, Parquet and plain text, one record at a time.

`records` streams a file's records as dictionaries and sets damaged ones aside; `GenericReader` makes
documents of them and is the base of the corpora that come as tables. Files are cut into units by bytes (JSON
lines, CSV, text) or row groups (Parquet), whose number depends on the files alone.

A document's `position` is the row for Parquet and, for JSON lines, CSV and text, the byte offset in the
decompressed file: a part of a file cannot know how many lines came before it, and an offset can be sought.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from gpt_research.preprocessing.document import Document, Drop, ReadOptions, Unit
from gpt_research.preprocessing.formats.csv_cuts import row_starts
from gpt_research.preprocessing.formats.csv_rows import csv_records
from gpt_research.preprocessing.formats.fields import MissingTextError, find_text_key, text_of
from gpt_research.preprocessing.formats.streams import MAX_RECORD, decode_text, lines, open_bytes
from gpt_research.preprocessing.text.batches import BATCH_BYTES, column_batch

UNIT_BYTES = 16 << 20
"""Size that large files are cut to."""
SEPARATOR = b"<|endoftext|>"
"""Divides the documents of a text file that holds several."""

_FORMS = {
    "txt": "text",
    "text": "text",
    "md": "text",
    "jsonl": "lines",
    "ndjson": "lines",
    "json": "json",
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
}
_PACKED = {"gz", "zst", "bz2", "xz"}
_NO_CHOICE = ReadOptions()
_ABOUT_THE_DATA = ("readme", "license", "licence", "dataset_info", "dataset_dict", "state.json")
_TEXT_PIECE = 1 << 20
_BATCH_ROWS = 256

Record = tuple[int, dict[str, Any]]
"""A record's position and its fields."""
Columns = Callable[[Sequence[str]], list[str]]
"""Chooses the columns to read from the names there are; raises `MissingTextError`."""


def form_of(path: Path) -> tuple[str, bool]:
    """Return a file's form by its name (`text`, `lines`, `json`, `csv`, `parquet`, or nothing); packed?"""
    return form_of_name(path.name)


def form_of_name(name: str) -> tuple[str, bool]:
    """Return the same by the name alone."""
    stem, dot, suffix = name.lower().rpartition(".")
    packed = suffix in _PACKED
    if packed:
        stem, dot, suffix = stem.rpartition(".")
    return (_FORMS.get(suffix, "") if dot else ""), packed


def walk(root: Path) -> list[Path]:
    """Return the files under `root` (or `root` itself) by name, without hidden ones, in a fixed order."""
    if not root.is_dir():
        return [root]
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(folder, name) for name in names if not name.startswith((".", "_"))]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def relative(path: Path, root: Path) -> str:
    """Return the name of a file of the corpus at `root`, as units and documents give it."""
    return path.name if path == root else path.relative_to(root).as_posix()


def unit_file(root: Path, unit: Unit) -> Path:
    """Return the file of a unit."""
    return root / unit.path if root.is_dir() else root


def table_files(root: Path) -> list[Path]:
    """Return the files that `records` reads; files that only describe the tables beside them are left out."""
    files = [path for path in walk(root) if form_of(path)[0]]
    if all(form_of(path)[0] == "text" for path in files):
        return files
    return [path for path in files if path == root or not path.name.lower().startswith(_ABOUT_THE_DATA)]


def cut(path: Path, root: Path) -> list[Unit]:
    """Cut one file into units of about `UNIT_BYTES`."""
    name, (form, packed) = relative(path, root), form_of(path)
    try:
        size = path.stat().st_size
        if form == "parquet":
            return _cut_row_groups(path, name, size)
        if packed or size <= UNIT_BYTES or (form == "json" and not _starts_with_line(path)):
            return [Unit(name, size)]
        wanted = range(UNIT_BYTES, size, UNIT_BYTES)
        borders = [0, *(row_starts(path, _delimiter(path), wanted) if form == "csv" else wanted), size]
    except Exception:  # a damaged or vanished file is one unit; reading it says what is wrong
        return [Unit(name, path.stat().st_size if path.exists() else 0)]
    return [Unit(name, stop - start, start, stop) for start, stop in pairwise(borders)]


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.name.lower() else ","


def _cut_row_groups(path: Path, name: str, size: int) -> list[Unit]:
    import pyarrow.parquet as pq

    if size <= UNIT_BYTES:
        return [Unit(name, size)]
    metadata = pq.read_metadata(path)
    units: list[Unit] = []
    start = held = 0
    for group in range(metadata.num_row_groups):
        held += sum(metadata.row_group(group).column(i).total_compressed_size for i in range(metadata.num_columns))
        if held >= UNIT_BYTES or group == metadata.num_row_groups - 1:
            units.append(Unit(name, held, start, group + 1))
            start, held = group + 1, 0
    return units or [Unit(name, size)]


def records(path: Path, unit: Unit, columns: Columns) -> Iterator[Record | Drop]:
    """Stream the records of a unit; damaged ones come as drops, and the rest goes on."""
    form, packed = form_of(path)
    if form == "text":
        yield from _text_records(path, unit)
    elif form == "csv":
        yield from csv_records(path, unit.path, columns, _delimiter(path), unit.start, unit.stop)
    elif form == "parquet":
        yield from _parquet_records(path, unit, columns)
    elif form == "json" and not packed and not _starts_with_line(path):
        yield from _json_whole(path, unit)
    else:
        yield from _json_lines(path, unit)


def _json_lines(path: Path, unit: Unit) -> Iterator[Record | Drop]:
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
            item = _rescue_json(line, unit.path, position, str(problem))
            if isinstance(item, Drop):
                yield item
                continue
            value = item[0]
        yield _as_record(value, unit.path, position)


def _rescue_json(line: bytes, source: str, position: int, problem: str) -> Drop | tuple[Any]:
    """Read what Python writes and strict JSON forbids (NaN, lone surrogates), or say what is wrong."""
    try:
        value = json.loads(line.decode("utf-8-sig"))
        # Half a surrogate pair cannot be encoded later; two halves become the character they stand for.
        units = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
        return (json.loads(units.decode("utf-16", "replace")),)
    except UnicodeDecodeError as error:
        reason, problem = "invalid_utf8", str(error)
    except (ValueError, RecursionError):
        reason = "invalid_json"
    excerpt = line[:80].decode("utf-8", "replace")
    return Drop(reason, source, position, f"{problem[:120]}: {excerpt}", broken=True)


def _as_record(value: Any, source: str, position: int) -> Record | Drop:
    if isinstance(value, dict):
        return position, value
    if isinstance(value, str):
        return position, {"text": value}
    return Drop("not_an_object", source, position, repr(value)[:80], broken=True)


def _starts_with_line(path: Path) -> bool:
    """Say whether a `.json` file holds JSON lines, rather than one value over the whole file."""
    with open_bytes(path) as file:
        first = file.readline(MAX_RECORD)
    try:
        return not isinstance(orjson.loads(first), list)
    except orjson.JSONDecodeError:
        return not first.lstrip().startswith((b"[", b"{"))


def _json_whole(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    with open_bytes(path) as file:
        data = file.read(4 * MAX_RECORD + 1)
    if len(data) > 4 * MAX_RECORD:
        detail = f"one JSON value of over {4 * MAX_RECORD >> 20} MB; write it as JSON lines"
        yield Drop("json_too_large", unit.path, 0, detail, broken=True)
        return
    item = _rescue_json(data, unit.path, 0, "not one JSON value")
    if isinstance(item, Drop):
        yield item
        return
    for position, value in enumerate(item[0] if isinstance(item[0], list) else [item[0]]):
        yield _as_record(value, unit.path, position)


def _text_records(path: Path, unit: Unit) -> Iterator[Record | Drop]:
    """Yield a text file as one record, one for each part between separators, or pieces of a large one."""
    if unit.start == 0 and unit.stop < 0:
        with open_bytes(path) as file:
            data = file.read(MAX_RECORD + 1)
        if len(data) <= MAX_RECORD:
            offset = 0
            for part in data.split(SEPARATOR) if SEPARATOR in data else [data]:
                if offset == 0 or part.strip():
                    yield offset, {"text": decode_text(part)}
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
        if held and (ends or size >= _TEXT_PIECE):
            yield begin, {"text": decode_text(b"\n".join(held))}
            held, size = [], 0
    if held:
        yield begin, {"text": decode_text(b"\n".join(held))}


def _parquet_records(path: Path, unit: Unit, columns: Columns) -> Iterator[Record | Drop]:
    for item in _parquet_tables(path, unit, columns):
        yield from [item] if isinstance(item, Drop) else _rows(*item)


def _parquet_tables(path: Path, unit: Unit, columns: Columns) -> Iterator[tuple[int, pa.RecordBatch] | Drop]:
    """Yield the chosen columns of some rows at a time, and the number of the first of them."""
    import pyarrow.parquet as pq

    # A buffer instead of whole column chunks: some files are a single row group of a gigabyte.
    with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        try:
            chosen = columns(file.schema_arrow.names)
        except MissingTextError as error:
            yield Drop("no_text_key", unit.path, 0, str(error), broken=True)
            return
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        for group in range(unit.start, len(sizes) if unit.stop < 0 else unit.stop):
            position = sum(sizes[:group])
            try:
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=chosen, use_threads=False):
                    rows = max(1, len(batch) * BATCH_BYTES // max(1, batch.nbytes))
                    for start in range(0, len(batch), rows):
                        yield position + start, batch.slice(start, rows)
                    position += len(batch)
            except (pa.ArrowException, OSError) as error:
                yield Drop("broken_parquet", unit.path, position, f"row group {group}: {error}"[:200], broken=True)


def _rows(position: int, batch: pa.RecordBatch) -> Iterator[Record]:
    values = [_values(column) for column in batch.columns]
    for number, row in enumerate(zip(*values, strict=True)):
        yield position + number, dict(zip(batch.schema.names, row, strict=True))


def _values(column: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return list(column.cast("binary").to_pylist())


def with_text_key(
    items: Iterable[Record | Drop], source: str, text_key: str | None
) -> Iterator[tuple[int, dict[str, Any], str] | Drop]:
    """Yield position and fields of each record, and the name of the field that holds its text."""
    key: str | None = None
    for item in items:
        if isinstance(item, Drop):
            yield item
            continue
        position, record = item
        if key not in record:
            try:
                key = find_text_key(record, text_key)
            except MissingTextError as error:
                yield Drop("no_text_key", source, position, str(error)[:400], broken=True)
                continue
        yield position, record, key


def text_documents(items: Iterable[Record | Drop], source: str, options: ReadOptions) -> Iterator[Document | Drop]:
    """Make documents of records by their text field alone."""
    for item in with_text_key(items, source, options.text_key):
        if isinstance(item, Drop):
            yield item
            continue
        position, record, name = item
        text = text_of(record[name], source, position)
        yield text if isinstance(text, Drop) else Document(text, source, position)


@dataclass(frozen=True)
class TableReader:
    """Any file or folder of tables and texts; what it makes of a record is `documents`' business."""

    name: str = "files"
    licence: str = "Not known: the files are the user's own."

    def units(self, root: Path) -> list[Unit]:
        """Cut the corpus at `root` (file or folder) into units, in a fixed order."""
        return [unit for path in self.files(root) for unit in cut(path, root)]

    def files(self, root: Path) -> list[Path]:
        """Return the files that belong to the corpus."""
        return table_files(root)

    def columns(self, names: Sequence[str], options: ReadOptions) -> list[str]:
        """Return the columns to read of a table."""
        return [find_text_key(names, options.text_key)]

    def documents(self, items: Iterable[Record | Drop], source: str, options: ReadOptions) -> Iterator[Document | Drop]:
        """Make documents of records, which may come from a file or from the hub."""
        return text_documents(items, source, options)

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit."""
        path = unit_file(root, unit)
        items = records(path, unit, partial(self.columns, options=options))
        if form_of(path)[0] == "text":
            return text_documents(items, unit.path, _NO_CHOICE)
        return self.documents(items, unit.path, options)


@dataclass(frozen=True)
class GenericReader(TableReader):
    """Tables and texts whose documents are the text field as it is."""

    def stream(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[pa.RecordBatch | Document | Drop]:
        """Stream one unit as `read` does, a clean column of Parquet as batches of documents."""
        path = unit_file(root, unit)
        if form_of(path)[0] == "parquet":
            return _stream_parquet(path, unit, options, partial(self.columns, options=options))
        return self.read(root, unit, options)


def _stream_parquet(
    path: Path, unit: Unit, options: ReadOptions, columns: Columns
) -> Iterator[pa.RecordBatch | Document | Drop]:
    for item in _parquet_tables(path, unit, columns):
        if isinstance(item, Drop):
            yield item
            continue
        first, table = item
        batch = column_batch(table.column(0), unit.path, first)
        if batch is not None:
            yield batch
        else:
            yield from text_documents(_rows(first, table), unit.path, options)
