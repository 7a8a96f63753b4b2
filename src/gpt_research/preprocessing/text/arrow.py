"""Arrow arrays of texts and numbers, made and read with as few copies as possible.

Functions that look at every character take the UTF-8 of all texts at once, because numpy can read
an array's buffer in place. `pa.array` and `to_numpy` are not used, because they import pandas if it
is installed, which takes a sixth of a second in every process. Knows nothing about words or files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

DOCUMENT_SCHEMA = pa.schema([("text", pa.large_string()), ("source", pa.large_string()), ("position", pa.int64())])
"""A batch of documents, with the fields of `Document`; nothing is null."""
BATCH_BYTES = 1 << 20
"""Bytes of text in a batch of documents: as much as the cache of a processor core holds."""


def encoded(texts: Sequence[str], errors: str = "strict") -> pa.LargeStringArray:
    """Return texts as an Arrow array.

    Args:
        errors: how to encode a lone surrogate, which UTF-8 cannot represent; as in `str.encode`.

    Raises:
        UnicodeEncodeError: a text has a lone surrogate, and `errors` is "strict".
    """
    return joined([text.encode(errors=errors) for text in texts])


def joined(pieces: Sequence[bytes]) -> pa.LargeStringArray:
    """Return texts as an Arrow array, given the UTF-8 of each."""
    bounds = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)), out=bounds[1:])
    return pa.LargeStringArray.from_buffers(len(pieces), pa.py_buffer(bounds), pa.py_buffer(b"".join(pieces)))


def repeated(text: str, times: int) -> pa.LargeStringArray:
    """Return an array of `times` copies of one text; "?" replaces a surrogate."""
    data = text.encode(errors="replace")
    bounds = np.arange(times + 1, dtype=np.int64) * len(data)
    return pa.LargeStringArray.from_buffers(times, pa.py_buffer(bounds), pa.py_buffer(data * times))


def integers(values: np.ndarray) -> pa.Int64Array:
    """Return (n,) whole numbers as an Arrow array."""
    whole = np.ascontiguousarray(values, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole)])


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of whole numbers without nulls as (n,) int64."""
    return np.concatenate([np.empty(0, dtype=np.int64), *map(np.from_dlpack, column.chunks)])


def mask(values: np.ndarray) -> pa.BooleanArray:
    """Return (n,) booleans as an Arrow array."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def utf8_of(array: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 of an array without nulls, not copied: data (m,) uint8 and bounds (n + 1,)
    int64.

    Text i is `data[bounds[i]:bounds[i + 1]]`.
    """
    if not len(array):
        return np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if not data or not data.size:
        return np.empty(0, dtype=np.uint8), bounds
    return np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]], bounds - bounds[0]


def bare_of(texts: pa.LargeStringArray) -> np.ndarray:
    """Return (n,) bool: True for texts that certainly have no white space before or after them.

    That is certain if both ends are a visible ASCII character, a quotation mark or a dash. Other
    texts may have none either.
    """
    data, bounds = utf8_of(texts)
    bare, long = np.zeros(len(texts), dtype=bool), np.flatnonzero(np.diff(bounds) >= 3)
    ends = []
    for at in (bounds[long], bounds[long + 1] - 3):
        one, two, three = data[at], data[at + 1], data[at + 2]
        sign = (one == 0xE2) & (two == 0x80) & (three >= 0x90) & (three <= 0xA6)  # U+2010 to U+2026
        ends.append((sign, one, three))
    (opens, first, _), (closes, _, last) = ends
    bare[long] = (opens | (first > 32) & (first < 127)) & (closes | (last > 32) & (last < 127))
    return bare
