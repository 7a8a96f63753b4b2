"""Text as one wants to learn from it: decoded by its content, repaired, and refused where it is none.

`repair` is applied to every document of every corpus. It is idempotent and leaves clean Unicode text as it
is; what it costs on clean text is a few scans in C, for only text that shows a sign of damage is worked on.
It knows nothing about corpora or documents.
"""

from __future__ import annotations

import codecs
import re

import ftfy
import numpy as np
import pyarrow as pa

from gpt_research.preprocessing.text.arrow import bare_of, utf8_of

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


# --- repair -----------------------------------------------------------------------------------------------

# All controls but tab and newline.
_CONTROLS = bytes([*range(9), *range(11, 32), 127])
# Signs of damage. Plain searches for one character, and patterns that begin with one literal byte, run at
# gigabytes per second; every other pattern at a hundred megabytes. So the cheap ones decide about the others.
_C1_BYTES = re.compile(rb"\xc2[\x80-\x9f]")
_ODD = ("\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff")
_BLANKS = " \t\xa0\u3000"
# UTF-8 that was read as Windows-1252 or Latin-1 shows an accented letter before a sign of the upper half (in
# UTF-8 again: \xc3 and what follows). Mac Roman makes `√©` and `‚Äô` of it, a DOS code page `ΓÇÖ`.
_MOJIBAKE_BYTES = re.compile(
    rb"\xc3[\x80-\xb4](?:\xc2|\xe2[\x80\x82\x84]|\xc5[\x92\x93\xa0\xa1\xb8\xbd\xbe]|\xc6\x92|\xcb[\x86\x9c])"
)
_MOJIBAKE_SIGNS = ("√", "Γ", "‚")
_MOJIBAKE = re.compile("[À-ô][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|√[©®§∂º±°≠≥]|‚Ä|ΓÇ")
_REPLACED = {
    **dict.fromkeys([*range(9), *range(14, 32), 127, 0xFEFF, 0xFFFE, 0xFFFF]),
    **dict.fromkeys([0x0B, 0x0C, 0x0D, 0x2028, 0x2029], "\n"),
}
_REPLACED_CHARACTER = re.compile(f"[{''.join(map(chr, _REPLACED))}]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_C1 = re.compile("[\x80-\x9f]")
BLANK_LINES = re.compile("\n\n\n+")  # begins with letters, unlike "\n{3,}": found at the speed of a search


def repair(text: str) -> str:
    """Return `text` without mojibake, control characters, lone surrogates, byte-order marks and blank runs.

    Lines end in one "\\n" and in no blanks, and at most one blank line separates two others. Everything else
    stays as it is, so that clean text comes back equal; a second repair changes nothing.
    """
    while True:
        repaired = _tidied(_without_damage(text))
        if repaired == text or text.isascii():  # only what was misread can hide more damage
            return repaired
        text = repaired


def _without_damage(text: str) -> str:
    """Mend characters; blanks and blank lines stay."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        text = _SURROGATE.sub("", _SURROGATE_PAIR.sub(_merged, text))
        data = text.encode()
    # Deleting bytes and comparing lengths finds a control in a tenth of the time that a pattern takes.
    if len(data.translate(None, _CONTROLS)) != len(data):
        text = _without_controls(text.replace("\r\r\n", "\n").replace("\r\n", "\n"))
    if text.isascii():
        return text
    if _looks_misread(text, data):
        text = "\n".join([_without_mojibake(line) for line in text.split("\n")])
    if _C1_BYTES.search(data) or any(odd in text for odd in _ODD):
        text = _C1.sub(_windows_sign, _without_controls(text))
    return text


def _tidied(text: str) -> str:
    """Take off blanks at the ends of lines, all but one of several blank lines, and blanks around the text."""
    for blank in _BLANKS:
        if blank in text and (end := f"{blank}\n") in text:
            text = "\n".join([part.rstrip(_BLANKS) for part in text.split(end)])
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.rstrip().lstrip("\n")


def repairs(texts: pa.LargeStringArray) -> dict[int, str]:
    """Return `repair` of each text that it changes, by the text's index.

    Clean texts, as most are, cost a small part of what `repair` takes of them: they are looked through all at once.
    """
    from gpt_research.preprocessing.text import kernels

    damaged, untidy = np.zeros((2, len(texts)), dtype=bool)
    kernels.find_damage(*utf8_of(texts), damaged, untidy)
    found: dict[int, str] = {}
    for index in np.flatnonzero(damaged | untidy).tolist():
        text = texts[index].as_py()
        mended = repair(text) if damaged[index] else _tidied(text)
        if mended != text:
            found[index] = mended
    return found


def _without_controls(text: str) -> str:
    # Where a text is ASCII `translate` takes a tenth of the time of a pattern, elsewhere more.
    if text.isascii():
        return text.translate(_REPLACED)
    return _REPLACED_CHARACTER.sub(lambda found: _REPLACED[ord(found[0])] or "", text)


def _looks_misread(text: str, data: bytes) -> bool:
    """Say whether there may be mojibake in a text, given its UTF-8 too: a few quick searches."""
    return bool(_MOJIBAKE_BYTES.search(data)) or any(sign in text for sign in _MOJIBAKE_SIGNS)


def _without_mojibake(line: str) -> str:
    """Decode a line again as it should have been; `ftfy` judges whether it is damaged at all."""
    may_be = not line.isascii() and _looks_misread(line, line.encode()) and _MOJIBAKE.search(line)
    return ftfy.fix_encoding(line) if may_be else line


def _merged(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _windows_sign(control: re.Match[str]) -> str:
    """The sign that Windows-1252 has in the place of a C1 control; its five holes vanish."""
    return control[0].encode("latin-1").decode("cp1252", errors="ignore")


# --- what is no text --------------------------------------------------------------------------------------

_SAMPLE = 4096


def drop_reasons(texts: pa.LargeStringArray, min_characters: int = 1) -> list[str | None]:
    """Say of each repaired text why it is not worth learning from, or None: `empty`, `too_short` or `not_text`.

    `not_text` has hardly a letter (a table of figures, a rule) or hardly a space (base64, a binary).
    """
    data, bounds = utf8_of(texts)
    reasons = [("not_text" if is_none else None) for is_none in _no_text(data, bounds).tolist()]
    long_enough = bare_of(texts) & (np.diff(bounds) >= 4 * max(min_characters, 1))  # at most four bytes a character
    for index in np.flatnonzero(~long_enough).tolist():
        length = len(texts[index].as_py().strip())
        if length < min_characters or not length:
            reasons[index] = "too_short" if length else "empty"
    return reasons


def _no_text(data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Judge each text by a piece of its middle: (n,) bool."""
    from gpt_research.preprocessing.text import kernels

    counts = np.empty((len(bounds) - 1, 5), dtype=np.uint32)
    kernels.count_kinds(data, bounds, _SAMPLE, counts)
    size, letters, spaces, beyond, replaced = counts.T.astype(np.int64)
    endless = (beyond == 0) & (size > 400) & (size > 60 * (spaces + 1))
    return (letters < 0.3 * (size - spaces)) | endless | (replaced > 0.1 * size)
