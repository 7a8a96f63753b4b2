"""Members of a tar archive from a stream that is read once, from the beginning to the end.

The standard library's `tarfile` is not used, because it takes five times as long (for pages of
OpenWebText a quarter of the time of decompressing them) and keeps a record of each of the millions
of members. This one reads the regular files of ustar, and of GNU and PAX with their long names.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

from gpt_research.preprocessing.formats.streams import BrokenInputError

_BLOCK = 512
_REGULAR = b"0\x007"
_LONG_NAME, _PAX = b"L"[0], b"x"[0]
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
        # In ustar the field of the prefix holds the first folders of a long path.
        prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
        name = long_name or b"/".join(filter(None, (prefix, header[:100].rstrip(b"\0"))))
        long_name = b""
        member = Member(stream, name.decode("utf-8", "replace"), _tar_size(header[124:136]))
        if header[156] in _REGULAR:
            yield member
        elif header[156] == _LONG_NAME and member.size < _LONGEST_NAME:
            long_name = member.read(member.size).rstrip(b"\0")
        elif header[156] == _PAX and member.size < _LONGEST_NAME:
            long_name = _pax_path(member.read(member.size))
        member.skip()
        _exactly(stream, -member.size % _BLOCK)


def begins_tar(head: bytes) -> bool:
    """Return whether a stream that begins with `head` is a tar archive with a first member."""
    return len(head) >= _BLOCK and head.count(0, 0, _BLOCK) < _BLOCK and _checksum_holds(head[:_BLOCK])


def _pax_path(records: bytes) -> bytes:
    """Return the path in the records of a PAX header, each `LENGTH key=value` and a line end, or
    nothing.
    """
    while records:
        length, blank, _ = records.partition(b" ")
        if not blank or not length.isdigit():
            return b""
        key, _, value = records[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            return value
        records = records[max(int(length), 1) :]
    return b""


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
