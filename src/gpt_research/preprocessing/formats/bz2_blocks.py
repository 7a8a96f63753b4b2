"""The blocks of a bzip2 file, each decompressed by itself, from any place in the file.

A stream is a row of blocks of at most 900 kB that know nothing of one another. They begin at any bit, with the
first digits of pi. Taken one by one they let any number of processes share a file, be it one stream or many, and
damage costs the blocks it lies in or borders on. In one of a thousand files of 20 GB those digits stand by chance
inside a block, which is then taken for a damaged one.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

SIGNATURE = b"BZh"
_BLOCK, _STREAM_END = 0x314159265359, 0x177245385090
_MAGIC_BITS, _CHECKSUM_BITS = 48, 32
_MAGIC_BYTES = 7
"""A magic number lies in so many bytes, whichever bit it begins at."""
_WINDOW = 1 << 20
_LARGEST_BLOCK = 2 << 20


def block_offsets(file: BinaryIO, start: int) -> Iterator[int]:
    """Yield the bits at which blocks begin, from byte `start` on, and at last the bit at which the file ends."""
    file.seek(start)
    while len(window := file.read(_WINDOW)) >= _MAGIC_BYTES:
        yield from (8 * start + bit for bit in _find(_BLOCK, window))
        start += len(window) - _MAGIC_BYTES + 1
        file.seek(start)
    yield 8 * (start + len(window))


def read_block(file: BinaryIO, begin: int, end: int) -> bytes:
    """Decompress the block at bit `begin`; at bit `end` begins the next, or the file ends.

    Raises:
        OSError, ValueError: the block is damaged or cut.
    """
    file.seek(begin // 8)
    data = file.read(min(-(-end // 8) - begin // 8, _LARGEST_BLOCK))
    skipped = begin % 8
    stop = min(skipped + end - begin, 8 * len(data))
    if ends := _find(_STREAM_END, data):  # after the last block of a stream
        stop = ends[0]
    # As a stream of its own: the block between a header and an end with the block's own checksum.
    block = _moved_left(data, skipped)
    whole, odd = divmod(stop - skipped, 8)
    begun = block[whole] >> 8 - odd if odd else 0
    checksum = int.from_bytes(block[_MAGIC_BITS // 8 :][: _CHECKSUM_BITS // 8], "big")
    ending = (begun << _MAGIC_BITS | _STREAM_END) << _CHECKSUM_BITS | checksum
    size = odd + _MAGIC_BITS + _CHECKSUM_BITS
    return bz2.decompress(b"BZh9" + block[:whole] + (ending << -size % 8).to_bytes(-(-size // 8), "big"))


def _moved_left(data: bytes, bits: int) -> bytes:
    """Return `data` without its first bits (fewer than eight), as many bytes as before."""
    padded = np.frombuffer(data + b"\0", dtype=np.uint8)
    return (padded[:-1] << bits | padded[1:] >> 8 - bits).tobytes()


def _find(magic: int, data: bytes) -> list[int]:
    """Return the bits of `data` at which a magic number begins."""
    bits = []
    array = np.frombuffer(data, dtype=np.uint8)
    third, fourth = array[2:-4], array[3:-3]
    for shift in range(8):
        # Whatever the shift, five whole bytes of the seven are known; two of them leave few places.
        known = (magic << 8 - shift).to_bytes(_MAGIC_BYTES, "big")
        for at in np.flatnonzero((third == known[2]) & (fourth == known[3])).tolist():
            word = int.from_bytes(data[at : at + _MAGIC_BYTES], "big")
            if word >> 8 - shift & (1 << _MAGIC_BITS) - 1 == magic:
                bits.append(8 * at + shift)
    return sorted(bits)
