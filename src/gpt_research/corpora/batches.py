"""Documents many at a time, as Arrow keeps them: what the stages of preprocessing work on.

`batched` gathers the documents of any reader. Tables of which nothing but the text is wanted, JSON lines and Parquet,
go from the file to Arrow without a Python object for each text, in a third of the time; a piece of a table in which
anything is out of the ordinary is left to the reader that looks at each record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from gpt_research.corpora.arrow import encoded, integers, repeated
from gpt_research.corpora.document import Document, Drop
from gpt_research.corpora.fields import MissingTextError, TextKey
from gpt_research.corpora.text import encode_all

DOCUMENT_SCHEMA = pa.schema([("text", pa.large_string()), ("source", pa.large_string()), ("position", pa.int64())])
"""A batch of documents; nothing is null."""
BATCH_BYTES = 1 << 20
"""Text that is worked on at once: as much as a core's cache holds."""


def batched(items: Iterable[Document | Drop | pa.RecordBatch]) -> Iterator[pa.RecordBatch | Drop]:
    """Gather documents to batches of about `BATCH_BYTES`; what is one already, and drops, are passed on."""
    held: list[Document] = []
    size = 0
    for item in items:
        if not isinstance(item, Document):
            if held and not isinstance(item, Drop):  # documents stay in order: the first of its kind is kept
                yield _batch(held)
                held, size = [], 0
            yield item
            continue
        held.append(item)
        size += len(item.text)
        if size >= BATCH_BYTES:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def _batch(documents: list[Document]) -> pa.RecordBatch:
    texts = encode_all([document.text for document in documents])
    sources = encoded([document.source for document in documents], "replace")
    positions = integers(np.array([document.position for document in documents]))
    return pa.record_batch([texts, sources, positions], schema=DOCUMENT_SCHEMA)


def json_line_batch(block: bytes, offset: int, source: str, key: TextKey) -> pa.RecordBatch | None:
    """Return the documents of whole JSON lines, or None where they have to be looked at one by one.

    Args:
        offset: of the block in its file; a document's position is that of its line.
        key: the field that holds the text.
    """
    data = np.frombuffer(block, dtype=np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(data == ord("\n")) + 1])
    starts = starts[starts < len(data)]
    # Objects alone on their lines, and no empty line: so the n-th text is that of the n-th line.
    if (data[starts] != ord("{")).any() or (data[starts[1:] - 2] != ord("}")).any():
        return None
    try:
        texts = _field(block, key.of(orjson.loads(block[: block.find(b"\n") + 1 or None])))
        _one_string(block).validate(full=True)  # also what stands in other fields has to be UTF-8
    except (orjson.JSONDecodeError, MissingTextError, pa.ArrowException):
        return None
    return _batch_of(texts, source, starts + offset) if len(texts) == len(starts) else None


def _one_string(data: bytes) -> pa.LargeStringArray:
    bounds = np.array([0, len(data)])
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(bounds), pa.py_buffer(data))


def _field(block: bytes, key: str) -> pa.ChunkedArray:
    """Return one field of JSON lines; raises `pa.ArrowException` where a line is no object or the field no string."""
    from pyarrow import json

    return json.read_json(
        pa.BufferReader(block),
        read_options=json.ReadOptions(use_threads=False, block_size=len(block)),
        parse_options=json.ParseOptions(
            explicit_schema=pa.schema([(key, pa.large_string())]), unexpected_field_behavior="ignore"
        ),
    )[key]


def column_batch(column: pa.Array, source: str, first: int) -> pa.RecordBatch | None:
    """Return the documents of a column of texts, or None where they have to be looked at one by one.

    Args:
        first: the row in the file at which the column begins.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    try:
        column.validate(full=True)
    except pa.ArrowException:  # not UTF-8
        return None
    return _batch_of(column, source, np.arange(first, first + len(column)))


def _batch_of(texts: pa.Array | pa.ChunkedArray, source: str, positions: np.ndarray) -> pa.RecordBatch | None:
    texts = pc.cast(texts, pa.large_string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if texts.null_count:
        return None
    sources = repeated(source, len(texts))
    return pa.record_batch([texts, sources, integers(positions)], schema=DOCUMENT_SCHEMA)
