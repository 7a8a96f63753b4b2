"""The blocks of a bzip2 file, each decompressed by itself, from any byte of the file on.

A stream is a sequence of blocks of at most 900 kB that do not depend on one another. Each begins,
at any bit, with the first digits of pi. Because blocks are read one by one, any number of processes
can share a file of one stream or many, and damage costs only the blocks in it and beside it. In one
of a thousand files of 20 GB those digits occur by chance inside a block, which then counts as
damaged.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

import numpy as np

SIGNATURE = b"BZh"
_BLOCK, _STREAM_END = 0x314159265359, 0x177245385090
_MAGIC_BITS, _CHECKSUM_BITS = 48, 32
_MAGIC_BYTES = 7
"""Bytes that a magic number of 48 bits touches, at whichever bit it begins."""
_WINDOW = 1 << 20
_LARGEST_BLOCK = 2 << 20
_LONG = 2 << 20
_TOGETHER = 4
"""Blocks that `bz2_decoder` decodes at the same time."""


def block_offsets(file: BinaryIO, start: int) -> Iterator[int]:
    """Yield the bits at which blocks begin, from byte `start` on, then the bit of the file's
    end."""
    file.seek(start)
    while len(window := file.read(_WINDOW)) >= _MAGIC_BYTES:
        yield from (8 * start + bit for bit in _find(_BLOCK, window))
        start += len(window) - _MAGIC_BYTES + 1
        file.seek(start)
    yield 8 * (start + len(window))


def contents(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int, bytes | Exception]]:
    """Yield the blocks that begin at byte `start` or after it: the bits at which a block begins and
    ends, and what it holds, or the error if it is damaged.

    The blocks that begin before byte `stop` are decoded several at once, which is faster, but for
    the first of them: to look at the beginning of a file takes no more than libbz2. Nor does a
    short file, because the other decoder has to be loaded, and compiled where it is new.
    """
    is_long = stop - start >= _LONG
    held: list[tuple[int, int]] = []
    for number, (begin, end) in enumerate(pairwise(block_offsets(file, start))):
        if not number or not is_long or begin >= 8 * stop:
            yield begin, end, _content(file, begin, end)
            continue
        held.append((begin, end))
        # The block that ends at `stop` or after it is the last one that begins before it.
        if len(held) == _TOGETHER or end >= 8 * stop:
            yield from _together(file, held)
            held = []
    yield from _together(file, held)


def _together(file: BinaryIO, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int, bytes | Exception]]:
    if not spans:
        return
    # It loads machine code, for which the process that only looks at the beginning should not wait.
    from gpt_research.preprocessing.formats.bz2_decoder import decode

    decoded = decode([(_bytes_of(file, begin, end), begin % 8) for begin, end in spans])
    for (begin, end), content in zip(spans, decoded, strict=True):
        # libbz2 decodes what the other decoder does not know, or says what is wrong with it.
        yield begin, end, _content(file, begin, end) if content is None else content


def _bytes_of(file: BinaryIO, begin: int, end: int) -> bytes:
    """Return the bytes in which the bits from `begin` to `end` are."""
    file.seek(begin // 8)
    return file.read(min(-(-end // 8) - begin // 8, _LARGEST_BLOCK))


def _content(file: BinaryIO, begin: int, end: int) -> bytes | Exception:
    try:
        return read_block(file, begin, end)
    except (OSError, ValueError) as error:
        return error


def read_block(file: BinaryIO, begin: int, end: int) -> bytes:
    """Decompress the block from bit `begin` to bit `end`, at which the next block begins or the
    file ends.

    Raises:
        OSError, ValueError: the block is damaged or cut.
    """
    data = _bytes_of(file, begin, end)
    skipped = begin % 8
    stop = min(skipped + end - begin, 8 * len(data))
    if ends := _find(_STREAM_END, data):  # after the last block of a stream
        stop = ends[0]
    # Make a stream of the one block: a header before it, and an end with the block's own checksum
    # after it.
    block = _moved_left(data, skipped)
    whole, odd = divmod(stop - skipped, 8)
    begun = block[whole] >> 8 - odd if odd else 0
    checksum = int.from_bytes(block[_MAGIC_BITS // 8 :][: _CHECKSUM_BITS // 8], "big")
    ending = (begun << _MAGIC_BITS | _STREAM_END) << _CHECKSUM_BITS | checksum
    size = odd + _MAGIC_BITS + _CHECKSUM_BITS
    return bz2.decompress(b"BZh9" + block[:whole] + (ending << -size % 8).to_bytes(-(-size // 8), "big"))


def _moved_left(data: bytes, bits: int) -> bytes:
    """Return `data` without its first `bits` (fewer than eight); it has as many bytes as before."""
    padded = np.frombuffer(data + b"\0", dtype=np.uint8)
    return (padded[:-1] << bits | padded[1:] >> 8 - bits).tobytes()


def _find(magic: int, data: bytes) -> list[int]:
    """Return the bits of `data` at which a magic number begins."""
    bits = []
    array = np.frombuffer(data, dtype=np.uint8)
    third, fourth = array[2:-4], array[3:-3]
    for shift in range(8):
        # At every shift, five of the seven bytes are whole and known. Two of them leave few
        # candidates.
        known = (magic << 8 - shift).to_bytes(_MAGIC_BYTES, "big")
        for at in np.flatnonzero((third == known[2]) & (fourth == known[3])).tolist():
            word = int.from_bytes(data[at : at + _MAGIC_BYTES], "big")
            if word >> 8 - shift & (1 << _MAGIC_BITS) - 1 == magic:
                bits.append(8 * at + shift)
    return sorted(bits)
