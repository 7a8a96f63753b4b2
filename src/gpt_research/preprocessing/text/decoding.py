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

_FORMATS = (
    (b"%PDF-", "a PDF"),
    (b"%!PS-", "PostScript"),
    (b"{\\rtf", "RTF"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"ORC\x03", "ORC"),
    (b"Obj\x01", "Avro"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "HDF5"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"OggS", "Ogg sound"),
    (b"ID3\x03", "MP3 sound"),
    (b"ID3\x04", "MP3 sound"),
    (b"fLaC", "FLAC sound"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"bplist00", "a property list"),
    (b"\x00\x05\x16\x07", "an AppleDouble file"),
    (b"\x00\x05\x16\x00", "an AppleSingle file"),
)
"""How files of other formats begin."""
_MARKS_OF_FORMATS = tuple(mark for mark, _ in _FORMATS)
_NO_SIGNS = bytes([*range(0x07), *range(0x0E, 0x1A), *range(0x1C, 0x20), 0x7F])
"""Control characters that text does not have; ISO-2022 writes ESC, and DOS ends a text with ^Z."""
_SAMPLE = 1 << 15


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


def format_of(data: bytes) -> str:
    """Return which format that is no text a file has by its beginning, in a few words, or ""."""
    if not data.startswith(_MARKS_OF_FORMATS):
        return ""
    return f"it is {next(kind for mark, kind in _FORMATS if data.startswith(mark))}"


def sign_of_binary(data: bytes) -> str:
    """Return why the content of a file is no text, in a few words; empty if it may be text.

    A file of another kind has the mark of its format at the beginning, or many bytes that text does
    not have. Zeros that pad the end are no such sign.
    """
    if format := format_of(data):
        return format
    if data.startswith(_MARKS):
        return ""
    # The beginning and the middle show what the rest is like.
    middle = len(data) // 2
    sample = data if len(data) <= 2 * _SAMPLE else data[:_SAMPLE] + data[middle : middle + _SAMPLE]
    sample = sample.rstrip(b"\0") if sample.endswith(b"\0") else sample
    if len(sample) - len(sample.translate(None, _NO_SIGNS)) > 0.02 * len(sample):
        return "it has many bytes that no text has"
    return ""


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
