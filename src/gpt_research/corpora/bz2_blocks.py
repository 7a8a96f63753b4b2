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
    for found in _find(_STREAM_END, data)[:1]:  # after the last block of a stream
        stop = found
    # As a stream of its own: the block between a header and an end with the block's own checksum.
    bits = stop - skipped
    block = int.from_bytes(data, "big") >> (8 * len(data) - stop) & (1 << bits) - 1
    checksum = block >> max(bits - _MAGIC_BITS - _CHECKSUM_BITS, 0) & (1 << _CHECKSUM_BITS) - 1
    stream = (block << _MAGIC_BITS | _STREAM_END) << _CHECKSUM_BITS | checksum
    size = bits + _MAGIC_BITS + _CHECKSUM_BITS
    return bz2.decompress(b"BZh9" + (stream << -size % 8).to_bytes(-(-size // 8), "big"))


def _find(magic: int, data: bytes) -> list[int]:
    """Return the bits of `data` at which a magic number begins."""
    found = []
    for shift in range(8):
        # Whatever the shift, five whole bytes of the seven are known, and a search for them is fast.
        core = (magic << 8 - shift).to_bytes(_MAGIC_BYTES, "big")[1:6]
        at = data.find(core, 1)
        while 0 < at <= len(data) - _MAGIC_BYTES + 1:
            word = int.from_bytes(data[at - 1 : at - 1 + _MAGIC_BYTES], "big")
            if word >> 8 - shift & (1 << _MAGIC_BITS) - 1 == magic:
                found.append(8 * (at - 1) + shift)
            at = data.find(core, at + 1)
    return sorted(found)
