"""The bytes of a corpus file as bounded lines and archive members, whatever it is compressed with.

Everything streams: memory is bounded by `MAX_RECORD`, never by the file. The codec is told by the first
bytes, not by the suffix. Damage becomes a `BrokenInputError` with a reason that can be counted. Knows nothing
of tables, documents or corpora.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import zstandard

MAX_RECORD = 64 << 20
"""Bytes of the longest line or archived text that is read; a longer one is set aside."""
_BLOCK = 1 << 20
_STEP = 1 << 15
"""Compressed bytes taken at once: they can grow a thousandfold."""
_TAR_BLOCK = 512
_TAR_REGULAR = b"0\x007"
_TAR_LONG_NAME = b"L"[0]


class BrokenInputError(Exception):
    """The input is damaged here; `reason` is the name it is counted by."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _Decoder(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Guard(io.RawIOBase):
    """A decoder whose errors name the codec, and that closes the file below it."""

    def __init__(self, decoder: _Decoder, raw: io.BufferedReader, codec: str) -> None:
        self._decoder = decoder
        self._raw = raw
        self._codec = codec

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._decoder.read(len(buffer))
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise BrokenInputError(f"broken_{self._codec}", str(error)) from error
        buffer[: len(data)] = data
        return len(data)


class _Frames:
    """Compressed frames one after the other; a missing end is an error.

    The zstandard library's own stream reader takes a cut file for a complete one, and the standard library's
    gzip reader is half as fast.
    """

    def __init__(self, raw: io.BufferedReader, new_frame: Callable[[], Any]) -> None:
        self._raw = raw
        self._new_frame = new_frame
        self._frame: Any = None
        self._rest = b""
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            data = self._rest or self._raw.read(_STEP)
            if not data:
                if self._frame is not None:
                    raise EOFError("the file ends inside a compressed frame")
                return b""
            self._rest = b""
            if self._frame is None:
                if not data.strip(b"\0"):
                    continue  # padding to a block of the medium
                self._frame = self._new_frame()
            self._ready = self._frame.decompress(data)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        out, self._ready = self._ready[:size], self._ready[size:]
        return out


def _gzip_frame() -> Any:
    return zlib.decompressobj(wbits=31)


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()


def decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    """Return the stream itself, or what it decompresses to (gzip, xz, bz2, zstd; by its first bytes)."""
    head = raw.peek(6)[:6]
    decoder: _Decoder
    if head.startswith(b"\x1f\x8b"):
        decoder, codec = _Frames(raw, _gzip_frame), "gzip"
    elif head.startswith(b"\xfd7zXZ\0"):
        decoder, codec = lzma.LZMAFile(raw), "xz"  # noqa: SIM115 - the guard closes the file
    elif head.startswith(b"BZh"):
        decoder, codec = bz2.BZ2File(raw), "bz2"
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        decoder, codec = _Frames(raw, _zstd_frame), "zstd"
    else:
        return raw
    return io.BufferedReader(_Guard(decoder, raw, codec), _BLOCK)


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a file for reading, decompressed."""
    return decompressed(io.BufferedReader(io.FileIO(path), _BLOCK))


def lines(path: Path, start: int = 0, stop: int = -1) -> Iterator[tuple[int, bytes | None]]:
    """Yield `(offset, line)` for the lines that begin in bytes `start` to `stop` of the decompressed file.

    A line comes without its newline, as None where it is longer than `MAX_RECORD`. Neighbouring ranges share
    no line and lose none. Only an uncompressed file may start elsewhere than at 0.
    """
    with open_bytes(path) as file:
        offset = 0
        if start > 0:
            # One byte back: where the range begins with a line, that byte is the newline before it.
            file.seek(start - 1)
            offset = start - 1 + _skip_line(file)
        elif file.peek(3)[:3] == codecs.BOM_UTF8:
            offset = len(file.read(3))
        while stop < 0 or offset < stop:
            line = file.readline(MAX_RECORD + 1)
            if not line:
                return
            size = len(line)
            if line.endswith(b"\n"):
                yield offset, line[:-1]
            elif size <= MAX_RECORD:
                yield offset, line
            else:
                del line
                size += _skip_line(file)
                yield offset, None
            offset += size


def _skip_line(file: io.BufferedReader) -> int:
    """Read to the next newline in bounded memory; return the bytes passed."""
    passed = 0
    while piece := file.readline(_BLOCK):
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed


class Member(io.RawIOBase):
    """One file within a tar stream, readable once, until the next is asked for."""

    def __init__(self, stream: io.BufferedReader, name: str, size: int) -> None:
        self._stream = stream
        self.name = name
        self.size = size
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as much as is asked for and there: in one piece, which the base class would copy twice."""
        data = _exactly(self._stream, self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def skip(self) -> None:
        """Pass over what is left."""
        while self.left:
            self.left -= len(_exactly(self._stream, min(self.left, _BLOCK)))


def tar_members(stream: io.BufferedReader) -> Iterator[Member]:
    """Yield the regular files of a tar archive in order, reading forward only.

    The standard library's reader costs more per member than decompressing a web page does, and keeps a record
    of each of the millions of members.
    """
    long_name = b""
    while header := stream.read(_TAR_BLOCK):
        if header.count(0) == _TAR_BLOCK:
            return
        if len(header) < _TAR_BLOCK or not _checksum_holds(header):
            raise BrokenInputError("broken_tar", "a member's header is damaged or cut")
        name = long_name or header[:100].rstrip(b"\0")
        long_name = b""
        member = Member(stream, name.decode("utf-8", "replace"), _tar_size(header[124:136]))
        if header[156] in _TAR_REGULAR:
            yield member
        elif header[156] == _TAR_LONG_NAME and member.size < _BLOCK:
            long_name = member.read(member.size).rstrip(b"\0")
        member.skip()
        _exactly(stream, -member.size % _TAR_BLOCK)


def _checksum_holds(header: bytes) -> bool:
    try:
        stored = int(header[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    # The sum counts its own eight bytes as blanks.
    return stored == _byte_sum(header[:148]) + 8 * ord(" ") + _byte_sum(header[156:404]) + _byte_sum(header[404:])


def _byte_sum(data: bytes) -> int:
    """Add up the bytes, at most 256 of them: they are one less than the lower half of their Adler checksum."""
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


def decode_text(data: bytes) -> str:
    """Decode a text whose encoding nobody states: a byte-order mark, else UTF-8, else Windows-1252."""
    return text_and_utf8(data)[0]


def text_and_utf8(data: bytes) -> tuple[str, bytes | None]:
    """Decode as `decode_text` does; return the UTF-8 too, where it is what was given."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace"), None
    try:
        text = data.decode()
        return (text[1:], data[3:]) if text.startswith("\ufeff") else (text, data)
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), None
    except UnicodeDecodeError:
        return data.decode("latin-1"), None
