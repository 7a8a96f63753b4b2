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
import pyarrow.compute as pc

from gpt_research.corpora.arrow import bare_of, encoded, integers, mask, utf8_of

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
# For `translate`, which takes a tenth of the time of a pattern where the text is ASCII.
_REPLACED = {
    **dict.fromkeys([*range(9), *range(14, 32), 127, 0xFEFF, 0xFFFE, 0xFFFF]),
    **dict.fromkeys([0x0B, 0x0C, 0x0D, 0x2028, 0x2029], "\n"),
}
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
        text = text.replace("\r\r\n", "\n").replace("\r\n", "\n").translate(_REPLACED)
    if text.isascii():
        return text
    if _MOJIBAKE_BYTES.search(data) or any(sign in text for sign in _MOJIBAKE_SIGNS):
        text = "\n".join([_without_mojibake(line) for line in text.split("\n")])
    if _C1_BYTES.search(data) or any(odd in text for odd in _ODD):
        text = _C1.sub(_windows_sign, text.translate(_REPLACED))
    return text


def _tidied(text: str) -> str:
    """Take off blanks at the ends of lines, all but one of several blank lines, and blanks around the text."""
    for blank in _BLANKS:
        if blank in text and (end := f"{blank}\n") in text:
            text = "\n".join([part.rstrip(_BLANKS) for part in text.split(end)])
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.rstrip().lstrip("\n")


def encode_all(texts: list[str]) -> tuple[pa.LargeStringArray, list[str]]:
    """Return texts as an Arrow array, and as they are in it: repaired if there is a lone surrogate, no UTF-8."""
    try:
        return encoded(texts), texts
    except UnicodeEncodeError:
        mended = list(map(repair, texts))
        return encoded(mended), mended


def repair_all(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return `repair` of each text.

    Clean texts, as most are, cost a small part of what `repair` takes of them: they are looked through all at once.
    """
    data, bounds = utf8_of(texts)
    if not len(data):
        return texts  # not a letter in all of them
    damaged, untidy = _suspects(data, bounds)
    suspects = np.flatnonzero(damaged | untidy)
    if not suspects.size:
        return texts
    some = texts.take(integers(suspects)).to_pylist()
    mended = [
        repair(text) if is_damaged else _tidied(text)
        for is_damaged, text in zip(damaged[suspects].tolist(), some, strict=True)
    ]
    return texts if mended == some else pc.replace_with_mask(texts, mask(damaged | untidy), encoded(mended))


_BLOCK = 1 << 17
_IS_ODD_SPACE = np.isin(np.arange(256), (0x9A, 0xA8, 0xA9, 0xAF))  # by the last byte of U+201A, 2028, 2029, 202F


def _suspects(data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which texts `repair` may change: all of those and few others.

    Args:
        data: (m,) uint8, the UTF-8 of all texts, one after the other.
        bounds: (n + 1,) int64: text i is data[bounds[i] : bounds[i + 1]].

    Returns:
        (n,) bool: a character may be damaged; and (n,) bool: blanks or blank lines may stand where they should not.
    """
    damaged, untidy = np.zeros((2, len(bounds) - 1), dtype=bool)
    filled = np.flatnonzero(np.diff(bounds))
    first, last = data[bounds[filled]], data[bounds[filled + 1] - 1]
    untidy[filled] = (first == 10) | (last <= 32) | (last == 0xA0)  # the last byte of a no-break space
    high = []
    for start in range(0, len(data), _BLOCK):  # small, to stay in the processor's cache
        begin = max(start - 2, 0)
        piece = data[begin : start + _BLOCK]
        line_end, blank = piece == 10, piece == 9
        control = (piece < 32) ^ line_end ^ blank | (piece == 127)
        blank |= piece == 32
        loose = line_end[1:] & blank[:-1]
        loose[1:] |= line_end[2:] & line_end[1:-1] & line_end[:-2]
        for suspects, found in ((damaged, control), (untidy, loose)):
            if found.any():
                _mark(suspects, bounds, np.flatnonzero(found) + begin)
        high.append(np.flatnonzero(piece >= 0xC2) + begin)
    _mark(damaged, bounds, _odd(data, np.concatenate(high)))
    return damaged, untidy


def _mark(suspects: np.ndarray, bounds: np.ndarray, places: np.ndarray) -> None:
    """Set the texts (n,) bool that reach over some places."""
    suspects[np.searchsorted(bounds, places, side="right") - 1] = True


def _odd(data: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return those of the places where characters beyond ASCII begin that may have to be repaired."""
    # By their first bytes, and the two bytes that follow (which may be of another text).
    one, two, three = data[high], data[high + 1], data[np.minimum(high + 2, len(data) - 1)]
    odd = (one == 0xC2) & ((two < 0xA0) | (two == 0xA0) & (three == 10))  # C1 controls, no-break space at a line's end
    odd |= (one == 0xC3) & (three >= 0xC2) & (three != 0xC3)  # what mojibake begins with
    odd |= (one == 0xCE) & (two == 0x93)
    odd |= (one == 0xE1) & (two == 0x9A)  # Ogham space
    # Spaces, the `‚` of mojibake, line ends.
    odd |= (one == 0xE2) & (two == 0x80) & ((three <= 0x8A) | _IS_ODD_SPACE[three])
    odd |= (one == 0xE2) & ((two == 0x81) & (three == 0x9F) | (two == 0x88) & (three == 0x9A))
    odd |= (one == 0xE3) & (two == 0x80) & (three == 0x80)
    odd |= (one == 0xEF) & ((two == 0xBB) & (three == 0xBF) | (two == 0xBF) & (three >= 0xBE))
    return high[odd]


def _without_mojibake(line: str) -> str:
    """Decode a line again as it should have been; `ftfy` judges whether it is damaged at all."""
    return ftfy.fix_encoding(line) if not line.isascii() and _MOJIBAKE.search(line) else line


def _merged(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _windows_sign(control: re.Match[str]) -> str:
    """The sign that Windows-1252 has in the place of a C1 control; its five holes vanish."""
    return control[0].encode("latin-1").decode("cp1252", errors="ignore")


# --- what is no text --------------------------------------------------------------------------------------

_GLANCE, _SAMPLE = 512, 4096
_LETTERS = bytes([*b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", *range(128, 256)])
_REPLACEMENT = "\ufffd".encode()
_IS_LETTER, _IS_SPACE, _IS_RARE = (
    bytes(byte in kind for byte in range(256)) for kind in (_LETTERS, b" \n", _REPLACEMENT[:1])
)


def drop_reasons(texts: pa.LargeStringArray, min_characters: int = 1) -> list[str | None]:
    """Say of each repaired text why it is not worth learning from, or None: `empty`, `too_short` or `not_text`.

    `not_text` has hardly a letter (a table of figures, a rule) or hardly a space (base64, a binary).
    """
    data, bounds = utf8_of(texts)
    reasons: list[str | None] = [None] * len(texts)
    long_enough = bare_of(texts) & (np.diff(bounds) >= 4 * max(min_characters, 1))  # at most four bytes a character
    for index in np.flatnonzero(~long_enough).tolist():
        length = len(texts[index].as_py().strip())
        if length < min_characters or not length:
            reasons[index] = "too_short" if length else "empty"
    for index in np.flatnonzero(~_plain_at_a_glance(data, bounds)).tolist():
        if reasons[index] is None and _is_no_text(data[bounds[index] : bounds[index + 1]]):
            reasons[index] = "not_text"
    return reasons


def _plain_at_a_glance(data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Say which texts show what they are in the few hundred bytes of their middle, as most do: (n,) bool."""
    plain, sizes = np.zeros(len(bounds) - 1, dtype=bool), np.diff(bounds)
    texts = np.flatnonzero(sizes >= _GLANCE)
    if not texts.size:
        return plain
    middles = bounds[texts] + (sizes[texts] - _GLANCE) // 2
    seen = np.lib.stride_tricks.sliding_window_view(data, _GLANCE)[middles].tobytes()  # (texts, _GLANCE)
    letters, spaces, rare = (_counts(seen.translate(kind)) for kind in (_IS_LETTER, _IS_SPACE, _IS_RARE))
    plain[texts] = (letters > 0.6 * (_GLANCE - spaces)) & (20 * spaces > _GLANCE) & (rare == 0)
    return plain


def _counts(flags: bytes) -> np.ndarray:
    """Add up each `_GLANCE` of bytes that are 0 or 1, eight at a time: no byte of a sum grows over `_GLANCE` / 8."""
    sums = np.frombuffer(flags, dtype=np.uint64).reshape(-1, _GLANCE // 8).sum(axis=1)
    return sums.view(np.uint8).reshape(-1, 8).sum(axis=1)


def _is_no_text(data: np.ndarray) -> bool:
    """Judge a text's UTF-8 by a longer piece of its middle."""
    start = max(0, (len(data) - _SAMPLE) // 2)
    sample = data[start : start + _SAMPLE].tobytes()
    letters = len(sample) - len(sample.translate(None, _LETTERS))
    spaces, replaced = sample.count(b" ") + sample.count(b"\n"), sample.count(_REPLACEMENT)
    endless = sample.isascii() and len(sample) > 400 and len(sample) > 60 * (spaces + 1)
    return letters < 0.3 * (len(sample) - spaces) or endless or replaced * len(_REPLACEMENT) > 0.1 * len(sample)
