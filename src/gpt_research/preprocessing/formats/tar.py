"""Members of a tar archive from a stream that is read once, from the beginning to the end.

The standard library's `tarfile` is not used, because it takes five times as long (for pages of
OpenWebText a quarter of the time of decompressing them) and keeps a record of each of the millions
of members. This one reads the regular files of the formats that the corpora use: ustar, and GNU
with its long names.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

from gpt_research.preprocessing.formats.streams import BrokenInputError

_BLOCK = 512
_REGULAR = b"0\x007"
_LONG_NAME = b"L"[0]
_LONGEST_NAME = _SKIPPED = 1 << 20


class Member(io.RawIOBase):
    """One file in a tar stream, to be read once and before the next one."""

    def __init__(self, stream: io.BufferedReader, name: str, size: int) -> None:
        self._stream = stream
        self.name = name
        self.size = size
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or all; the base class would copy them twice more."""
        data = _exactly(self._stream, self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def skip(self) -> None:
        """Read and discard what is left."""
        while self.left:
            self.left -= len(_exactly(self._stream, min(self.left, _SKIPPED)))


def tar_members(stream: io.BufferedReader) -> Iterator[Member]:
    """Yield the regular files of a tar archive in order, reading forward only."""
    long_name = b""
    while header := stream.read(_BLOCK):
        if header.count(0) == _BLOCK:
            return
        if len(header) < _BLOCK or not _checksum_holds(header):
            raise BrokenInputError("broken_tar", "a member's header is damaged or cut")
        name = long_name or header[:100].rstrip(b"\0")
        long_name = b""
        member = Member(stream, name.decode("utf-8", "replace"), _tar_size(header[124:136]))
        if header[156] in _REGULAR:
            yield member
        elif header[156] == _LONG_NAME and member.size < _LONGEST_NAME:
            long_name = member.read(member.size).rstrip(b"\0")
        member.skip()
        _exactly(stream, -member.size % _BLOCK)


def _checksum_holds(header: bytes) -> bool:
    try:
        stored = int(header[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    # The checksum counts its own eight bytes as blanks.
    return stored == _byte_sum(header[:148]) + 8 * ord(" ") + _byte_sum(header[156:404]) + _byte_sum(header[404:])


def _byte_sum(data: bytes) -> int:
    """Return the sum of at most 256 bytes: one less than the lower half of their Adler-32."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _tar_size(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise BrokenInputError("broken_tar", "a member's size is no number") from error


def _exactly(stream: io.BufferedReader, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise BrokenInputError("broken_tar", "the archive ends inside a member")
    return data
