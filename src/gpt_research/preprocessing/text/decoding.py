"""From bytes whose encoding is not known to text: the content decides, because labels often lie.

Knows nothing about files, documents or damage other than bytes that fit no encoding.
"""

from __future__ import annotations

import codecs
import re

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its first half
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARKS = tuple(mark for mark, _ in _BYTE_ORDER_MARKS)
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_DOS_LETTER = re.compile(rb"[a-z][\x81-\x8d\x93\x95-\x97\xa0-\xa3][a-z]")
_WESTERN_LETTER = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][a-z]")


def decode(data: bytes, *, dos: bool = True) -> str:
    """Decode bytes by their content: a byte-order mark, then UTF-8, then a DOS code page, then
    Windows-1252.

    No input makes it raise. UTF-8 with a few stray bytes keeps its multi-byte sequences, and each
    stray byte is read as Windows-1252.

    Args:
        dos: consider the DOS code page 850. Books and mails of the 1990s use it. Rows of tables and
            web pages do not, and they are so short that a dash between two letters in Windows-1252
            would pass for a DOS letter.
    """
    if data.startswith(_MARKS):
        encoding = next(encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark))
        return data.decode(encoding, errors=_WESTERN_STRAYS if encoding == "utf-8-sig" else "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    strays = len(_HIGH_BYTE.findall(_UTF8_SEQUENCE.sub(b"", data)))
    if len(_UTF8_SEQUENCE.findall(data)) > strays:
        return data.decode("utf-8", errors=_WESTERN_STRAYS)
    if dos and len(_DOS_LETTER.findall(data)) > 2 * len(_WESTERN_LETTER.findall(data)):
        return data.decode("cp850")
    return _western(data)


def text_and_utf8(data: bytes) -> tuple[str, bytes | None]:
    """Return what `decode` makes of a web page, and its UTF-8 if the page came as UTF-8, else None.

    A caller that needs the UTF-8 need not encode the text again.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return decode(data, dos=False), None
    return (text[1:], data[3:]) if data.startswith(codecs.BOM_UTF8) else (text, data)


def _western(data: bytes) -> str:
    """Decode Windows-1252, and its five undefined bytes as Latin-1."""
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
