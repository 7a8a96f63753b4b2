"""Texts as Arrow keeps them: the UTF-8 of all of them in one piece, and where each begins.

What looks at every character looks at these bytes, for numpy reads them where they lie. Knows nothing about words,
documents or files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def encoded(texts: Sequence[str], errors: str = "strict") -> pa.LargeStringArray:
    """Return texts as an Arrow array.

    Args:
        errors: what to do with a lone surrogate, which UTF-8 cannot write; as of `str.encode`.

    Raises:
        UnicodeEncodeError: there is one, and errors is strict.
    """
    pieces = [text.encode(errors=errors) for text in texts]
    bounds = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)), out=bounds[1:])
    return pa.LargeStringArray.from_buffers(len(pieces), pa.py_buffer(bounds), pa.py_buffer(b"".join(pieces)))


def utf8_of(array: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Return an array's UTF-8 (m,) uint8 and bounds (n + 1,) int64, uncopied: text i is data[bounds[i]:bounds[i + 1]].

    Nothing of the array may be null.
    """
    if not len(array):
        return np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if not data or not data.size:
        return np.empty(0, dtype=np.uint8), bounds
    return np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]], bounds - bounds[0]
