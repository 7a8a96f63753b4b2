"""The bytes of a corpus file and its lines in bounded memory, whatever the file is compressed with.

Everything streams: memory is bounded by `MAX_RECORD`, never by the file. The first bytes decide the
codec, because suffixes lie; UTF-16 and UTF-32 become UTF-8. Damage raises a `BrokenInputError` with
a reason that can be counted. Knows nothing about tables, documents or corpora.
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
"""Bytes of the longest line or archived text that is read; a longer one becomes a drop."""
_BLOCK = 1 << 20
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([number]) + b"\x2a\x4d\x18" for number in range(0x50, 0x60)))
"""How zstd files begin: with data, or with one of the frames to be skipped that pzstd writes."""
_HEAD = 256
"""Bytes by which wide characters are recognised."""
_STEP = 1 << 15
"""Compressed bytes that are decompressed at once; few, because they can grow a thousandfold."""


class BrokenInputError(Exception):
    """The input is damaged; `reason` is the name under which the damage is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _Decoder(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Guard(io.RawIOBase):
    """A decompressing stream whose errors name the codec, and which closes the file below it."""

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

    The zstandard library's own stream reader reports no error for a file that was cut off, and the
    standard library's gzip reader is half as fast.
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
                    continue  # zeros that pad the file to a block of its tape
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


def decompressed(raw: io.BufferedReader, buffer: int = _BLOCK) -> io.BufferedReader:
    """Return the decompressed stream of gzip, xz, bz2 or zstd, and other streams as they are.

    Args:
        buffer: bytes that are decompressed at once.
    """
    head = raw.peek(6)[:6]
    decoder: _Decoder
    if head.startswith(b"\x1f\x8b"):
        decoder, codec = _Frames(raw, _gzip_frame), "gzip"
    elif head.startswith(b"\xfd7zXZ\0"):
        decoder, codec = lzma.LZMAFile(raw), "xz"  # noqa: SIM115  the guard closes the file
    elif head.startswith(b"BZh"):
        decoder, codec = bz2.BZ2File(raw), "bz2"
    elif head.startswith(_ZSTD):
        decoder, codec = _Frames(raw, _zstd_frame), "zstd"
    else:
        return raw
    return io.BufferedReader(_Guard(decoder, raw, codec), buffer)


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a file for reading, decompressed and without wide characters."""
    return as_utf8(decompressed(io.BufferedReader(io.FileIO(path), _BLOCK)))


def first_bytes(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, decompressed; quick, because no more is decompressed."""
    with decompressed(io.BufferedReader(io.FileIO(path), size), size) as file:
        return file.read(size)


class _Recoded(io.RawIOBase):
    """A stream of wide characters as UTF-8; closes the stream below it."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = b""

    def close(self) -> None:
        self._stream.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            data = self._stream.read(_STEP)
            self._ready = self._decoder.decode(data, final=not data).encode()
            if not data and not self._ready:
                return 0
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def as_utf8(stream: io.BufferedReader) -> io.BufferedReader:
    """Return a stream of UTF-16 or UTF-32 as UTF-8, and any other stream as it is."""
    encoding = wide_encoding(stream.peek(_HEAD)[:_HEAD])
    return io.BufferedReader(_Recoded(stream, encoding), _BLOCK) if encoding else stream


def wide_encoding(head: bytes) -> str:
    """Return the encoding of a text that begins with `head` if it is UTF-16 or UTF-32, else "".

    It has a byte-order mark, or nearly every other byte is zero, as in UTF-16 of Latin letters.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" not in head or len(head) < 16:
        return ""
    pairs = len(head) // 2
    even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if not even and odd > 0.7 * pairs:
        return "utf-16-le"
    return "utf-16-be" if not odd and even > 0.7 * pairs else ""


def is_wide(path: Path) -> bool:
    """Return whether a file that is not compressed holds wide characters, so that it has no lines
    of bytes.
    """
    with open(path, "rb") as file:
        return bool(wide_encoding(file.read(_HEAD)))


def lines(
    path: Path, start: int = 0, stop: int = -1, *, has_returns: bool = False
) -> Iterator[tuple[int, bytes | None]]:
    """Yield `(offset, line)` for the lines that begin in bytes `start` to `stop` of the
    decompressed file.

    A line comes without its newline, or as None if it is longer than `MAX_RECORD`. Neighbouring
    ranges share no line and lose none. `start` must be 0 in a compressed file.

    Args:
        has_returns: lines end in a carriage return alone; `start` must be 0.
    """
    with open_bytes(path) as file:
        yield from lines_of(io.BufferedReader(_Returns(file), _BLOCK) if has_returns else file, start, stop)


class _Returns(io.RawIOBase):
    """A stream with a newline for each carriage return, so that no offset changes."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)


def lines_of(file: io.BufferedReader, start: int = 0, stop: int = -1) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of an open stream as `lines` does. If `start` is not 0, the stream must be
    one that can be sought.
    """
    offset = 0
    if start > 0:
        # Skip from one byte before `start`: if a line begins at `start`, that byte is the newline
        # before it.
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
    """Read to the next newline in bounded memory, and return the number of bytes read."""
    passed = 0
    while piece := file.readline(_BLOCK):
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed
