"""Text as one wants to learn from it: decoded by its content, repaired, and refused where it is none.

`repair` is applied to every document of every corpus. It is idempotent and leaves clean Unicode text as it
is; what it costs on clean text is a few scans in C, for only text that shows a sign of damage is worked on.
It knows nothing about corpora or documents.
"""

from __future__ import annotations

import codecs
import re

# --- bytes to text ----------------------------------------------------------------------------------------

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_DOS_LETTER = re.compile(rb"[a-z][\x81-\x8d\x93\x95-\x97\xa0-\xa3][a-z]")
_WESTERN_LETTER = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][a-z]")


def decode(data: bytes) -> str:
    """Decode bytes by what they hold: byte-order mark, UTF-8, a DOS code page, else Windows-1252.

    Never raises: UTF-8 with a few stray bytes keeps its sequences, and the strays are read as Windows-1252.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace" if mark != codecs.BOM_UTF8 else _WESTERN_STRAYS)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    strays = len(_HIGH_BYTE.findall(_UTF8_SEQUENCE.sub(b"", data)))
    if len(_UTF8_SEQUENCE.findall(data)) > strays:
        return data.decode("utf-8", errors=_WESTERN_STRAYS)
    if len(_DOS_LETTER.findall(data)) > 2 * len(_WESTERN_LETTER.findall(data)):
        return data.decode("cp850")
    return _western(data)


def _western(data: bytes) -> str:
    """Windows-1252, its five holes filled as Latin-1 does."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors=_WESTERN_HOLES)


def _read_strays(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError), "installed for decoding only"
    return _western(error.object[error.start : error.end]), error.end


def _fill_holes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError), "installed for decoding only"
    return error.object[error.start : error.end].decode("latin-1"), error.end


_WESTERN_STRAYS = "gpt_research.western_strays"
_WESTERN_HOLES = "gpt_research.western_holes"
codecs.register_error(_WESTERN_STRAYS, _read_strays)
codecs.register_error(_WESTERN_HOLES, _fill_holes)
