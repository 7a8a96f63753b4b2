"""Sorts the suffixes of a split: in memory if it fits, else in parts that are then merged.

A suffix array lists all positions of a text in the order of what stands from there on.
libdivsufsort (Mori 2006) sorts the suffixes of bytes. A token becomes bytes with the highest first,
so that bytes sort as tokens do, and of the sorted suffixes those remain that begin with a token.

Parts end where a document ends. What stands behind the end of a document does not decide an order,
because no text that is looked for goes on there. So a part is sorted without the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.tracing import compiled
from gpt_research.tracing.split_tokens import SplitTokens

MOST_BYTES = 2**31 - 1
"""Bytes of a text whose suffixes are sorted with 32-bit numbers, which take half the memory."""
BLOCK = 1 << 22
"""Entries that are written at a time."""
SCANNED = 1 << 20
"""Tokens that are looked through at a time for the end of a document."""


def bytes_of_token(vocab_size: int) -> int:
    """Return the bytes that tell the tokens of a vocabulary apart."""
    return next(size for size in (2, 3, 4) if vocab_size <= 256**size)


def memory_to_sort(tokens: int, token_bytes: int) -> int:
    """Return the bytes of memory that sorting takes: the text, and 4 for each of its bytes."""
    return 5 * token_bytes * tokens + 16 * BLOCK


def most_tokens(memory: int, token_bytes: int) -> int:
    """Return the tokens of the largest part that can be sorted in so many bytes of memory."""
    return max(0, min((memory - 16 * BLOCK) // (5 * token_bytes), MOST_BYTES // token_bytes))


def cut(text: SplitTokens, end_of_text: int, most: int) -> list[tuple[int, int]]:
    """Return the parts of a split, each as its first position and the one behind it.

    Args:
        most: tokens in a part.

    Raises:
        UserError: a document is longer.
    """
    parts: list[tuple[int, int]] = []
    start = 0
    for array, end in zip(text.arrays, text.first[1:].tolist(), strict=True):
        while end - start > most:
            # The shard begins a new part if there is one before it, else it is cut itself.
            stop = end - len(array) if start < end - len(array) else _last_end(array, end, start, most, end_of_text)
            parts.append((start, stop))
            start = stop
        # Only the end of a document, and of the split, may stand within a part.
        if len(array) and int(array[-1]) != end_of_text and start < end:
            parts.append((start, end))
            start = end
    if start < text.count:
        parts.append((start, text.count))
    return parts


def _last_end(array: np.ndarray, end: int, start: int, most: int, end_of_text: int) -> int:
    """Return the position behind the last document that ends within `most` tokens of `start`."""
    first = end - len(array)
    low, high = start - first, min(start + most, end) - first
    while high > low:
        begin = max(low, high - SCANNED)
        ends = np.flatnonzero(array[begin:high] == end_of_text)
        if len(ends):
            return first + begin + int(ends[-1]) + 1
        high = begin
    raise UserError(
        f"A document has more than {most:,} tokens, which the free memory does not suffice to sort. End what else uses "
        "the memory, or take a machine with more."
    )


def write_sorted(text: SplitTokens, start: int, stop: int, token_bytes: int, width: int, file: BinaryIO) -> None:
    """Sort the suffixes of a part, and write their positions.

    Args:
        token_bytes: as `bytes_of_token` returns it.
        width: bytes of a position in the file.

    Raises:
        UserError: the package is missing.
    """
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        raise UserError(f"index needs pydivsufsort. Run: {hints.install('trace', 'pydivsufsort')}") from None
    plain = np.empty((stop - start, token_bytes), np.uint8)
    filled = 0
    for piece in text.pieces(start, stop):
        for begin in range(0, len(piece), BLOCK):
            block = piece[begin : begin + BLOCK].astype(">u4").view(np.uint8).reshape(-1, 4)
            plain[filled : filled + len(block)] = block[:, 4 - token_bytes :]
            filled += len(block)
    suffixes = divsufsort(plain.reshape(-1)) if len(plain) else np.empty(0, np.int32)
    for begin in range(0, len(suffixes), BLOCK):
        some = suffixes[begin : begin + BLOCK]
        # The suffixes that begin within a token are left out.
        tokens = some[some & 1 == 0] >> 1 if token_bytes == 2 else some[some % token_bytes == 0] // token_bytes
        file.write(packed(tokens.astype(np.int64) + start, width))


def packed(positions: np.ndarray, width: int) -> bytes:
    """Return positions as `width` bytes each, the lowest first."""
    return positions.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()


def width_of(count: int) -> int:
    """Return the bytes that a position among `count` tokens takes: 4, or 5 beyond 2**32."""
    return 4 if count <= 2**32 else 5


def write_merged(text: SplitTokens, end_of_text: int, parts: list[Path], width: int, file: BinaryIO) -> None:
    """Merge the sorted parts of a split, and write their positions."""
    maps = [np.memmap(part, np.uint8, mode="r").view(np.ndarray) for part in parts]
    for positions in merged(text, end_of_text, maps, width):
        file.write(packed(positions, width))


def merged(text: SplitTokens, end_of_text: int, parts: list[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Yield the positions of sorted parts in the order of their suffixes, a block at a time."""
    counts = np.array([len(part) // width for part in parts], np.int64)
    addresses = np.array([part.ctypes.data for part in parts], np.uint64)
    taken, heads = np.zeros(len(parts), np.int64), np.zeros(len(parts), np.int64)
    heap = np.zeros(len(parts) + 1, np.int64)
    heap[-1] = -1
    out = np.empty(BLOCK, np.uint64)
    while count := compiled.merge(
        text.addresses, text.first, text.is_short, end_of_text, addresses, width, counts, taken, heap, heads, out
    ):
        yield out[:count]
