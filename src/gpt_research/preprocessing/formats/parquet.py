"""Parquet files: cut by row groups, and read as records or as whole columns of documents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.base.files import can_be_written
from gpt_research.preprocessing.document import Drop, MissingTextError, Record, Unit
from gpt_research.preprocessing.text.arrow import BATCH_BYTES, DOCUMENT_SCHEMA, integers, repeated

_BATCH_ROWS = 256


def cut_row_groups(path: Path, name: str, size: int, unit_bytes: int) -> list[Unit]:
    """Cut a file of `size` bytes into units of whole row groups, of about `unit_bytes` each."""
    if size <= unit_bytes:
        return [Unit(name, size)]
    metadata = pq.read_metadata(path)
    units: list[Unit] = []
    start = held = 0
    for group in range(metadata.num_row_groups):
        held += sum(metadata.row_group(group).column(i).total_compressed_size for i in range(metadata.num_columns))
        if held >= unit_bytes or group == metadata.num_row_groups - 1:
            units.append(Unit(name, held, start, group + 1))
            start, held = group + 1, 0
    return units or [Unit(name, size)]


def parquet_batches(
    path: Path, unit: Unit, columns: Callable[[Sequence[str]], list[str]]
) -> Iterator[tuple[int, pa.RecordBatch] | Drop]:
    """Yield the chosen columns of some rows at a time, and the number of the first of these rows.

    Args:
        columns: chooses among the names of the columns; raises `MissingTextError` if none holds the
            text.
    """
    # A buffer instead of whole column chunks, because some files are a single row group of a
    # gigabyte.
    # Arrow opens no path that is not UTF-8, but it reads from a file that is open.
    with (
        contextlib.nullcontext(path) if can_be_written(str(path)) else open(path, "rb") as source,
        pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as file,
    ):
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


def records_of_batch(first: int, batch: pa.RecordBatch) -> Iterator[Record]:
    """Yield the rows of a batch, whose first row is row number `first` of the file."""
    values = [_values(column) for column in batch.columns]
    for number, row in enumerate(zip(*values, strict=True)):
        yield first + number, dict(zip(batch.schema.names, row, strict=True))


def _values(column: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return list(column.cast("binary").to_pylist())


def documents_of_column(column: pa.Array, source: str, first: int) -> pa.RecordBatch | None:
    """Return a column of texts as a batch of documents (`DOCUMENT_SCHEMA`), or None if it is not
    all valid texts.

    Args:
        first: the number, in the file, of the column's first row.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    try:
        column.validate(full=True)
    except pa.ArrowException:  # not UTF-8
        return None
    if column.null_count:
        return None
    texts, rows = pc.cast(column, pa.large_string()), np.arange(first, first + len(column))
    return pa.record_batch([texts, repeated(source, len(texts)), integers(rows)], schema=DOCUMENT_SCHEMA)
