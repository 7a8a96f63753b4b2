"""Repair of text, and the reasons to leave a text out.

`repair` is applied to every document of every corpus. It is idempotent and leaves clean Unicode
text as it is. `repairs` does the same for many texts at once and costs little where they are clean,
because one compiled scan finds the few texts to work on. Knows nothing about corpora or documents.
"""

from __future__ import annotations

import re

import ftfy
import numpy as np
import pyarrow as pa

from gpt_research.preprocessing.text import compiled
from gpt_research.preprocessing.text.arrow import bare_of, encoded, utf8_of
from gpt_research.preprocessing.text.damage import (
    BLANK_LINES,
    BLANKS,
    C1_PATTERN,
    CONTROL,
    MISREAD_PAIR,
    MISREAD_PATTERN,
    ODD,
    REPLACED,
    REPLACED_PATTERN,
    UNTIDY,
    tables,
)

_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def repair(text: str) -> str:
    """Return `text` without mojibake, control characters, lone surrogates, byte-order marks and
    blank runs.

    Lines end in one "\\n" without blanks before it, and at most one blank line separates two
    others. Everything else stays as it is, so clean text comes back equal, and a second repair
    changes nothing.
    """
    if _SURROGATE.search(text):
        text = _SURROGATE.sub("", _SURROGATE_PAIR.sub(_joined_pair, text))
    while True:
        repaired = _mended(text)
        if repaired == text or text.isascii():  # only misread characters can hide more damage
            return repaired
        text = repaired


def repairs(texts: pa.LargeStringArray) -> dict[int, str]:
    """Return `repair` of each text that it changes, by the text's index."""
    signs = _signs_of(texts)
    changed: dict[int, str] = {}
    for index in np.flatnonzero(signs).tolist():
        text = texts[index].as_py()
        mended = _tidied(text) if signs[index] == UNTIDY else repair(text)
        if mended != text:
            changed[index] = mended
    return changed


def _signs_of(texts: pa.LargeStringArray) -> np.ndarray:
    """Return (n,) uint8: the signs of damage in each text, bits as in `damage`."""
    signs = np.zeros(len(texts), dtype=np.uint8)
    compiled.find_damage(*utf8_of(texts), *tables(), signs)
    return signs


def _mended(text: str) -> str:
    """Mend the damage once. The result may show damage that was misread before."""
    [signs] = _signs_of(encoded([text])).tolist()
    if signs & CONTROL:
        text = _without_controls(text.replace("\r\r\n", "\n").replace("\r\n", "\n"))
    if signs & MISREAD_PAIR:
        text = "\n".join(map(_decoded_again, text.split("\n")))
    if signs & ODD:
        text = C1_PATTERN.sub(_windows_sign, _without_controls(text))
    return _tidied(text)


def _tidied(text: str) -> str:
    """Remove blanks at line ends and around the text, and all but one of several blank lines."""
    for blank in BLANKS:
        if blank in text and (end := f"{blank}\n") in text:
            text = "\n".join([part.rstrip(BLANKS) for part in text.split(end)])
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.rstrip().lstrip("\n")


def _without_controls(text: str) -> str:
    if text.isascii():
        return text.translate(REPLACED)  # in a tenth of the time that a pattern takes
    return REPLACED_PATTERN.sub(lambda control: REPLACED[ord(control[0])] or "", text)


def _decoded_again(line: str) -> str:
    """Undo the wrong decoding of a line; `ftfy` judges whether it was decoded wrongly at all."""
    return line if line.isascii() or not MISREAD_PATTERN.search(line) else ftfy.fix_encoding(line)


def _joined_pair(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _windows_sign(control: re.Match[str]) -> str:
    """Return the sign of Windows-1252 at the code of a C1 control, or nothing."""
    return control[0].encode("latin-1").decode("cp1252", errors="ignore")


# --- what is no text ------------------------------------------------------------------------------

_SAMPLE = 4096
"""Bytes from the middle of a text by which it is judged."""


def drop_reasons(texts: pa.LargeStringArray, min_characters: int = 1) -> list[str | None]:
    """Return why each repaired text is left out (`empty`, `too_short`, `not_text`), or None if it
    is not.

    `not_text` has hardly a letter (a table of figures, a rule) or hardly a space (base64, a
    binary).
    """
    data, bounds = utf8_of(texts)
    reasons = [("not_text" if refused else None) for refused in _no_text(data, bounds).tolist()]
    # A character has at most four bytes.
    long_enough = bare_of(texts) & (np.diff(bounds) >= 4 * max(min_characters, 1))
    for index in np.flatnonzero(~long_enough).tolist():
        length = len(texts[index].as_py().strip())
        if length < min_characters or not length:
            reasons[index] = "too_short" if length else "empty"
    return reasons


def _no_text(data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return (n,) bool: texts that are no text, judged by a piece of their middle."""
    counts = np.empty((len(bounds) - 1, 5), dtype=np.uint32)
    compiled.count_kinds(data, bounds, _SAMPLE, counts)
    size, letters, spaces, beyond, replaced = counts.T.astype(np.int64)
    endless = (beyond == 0) & (size > 400) & (size > 60 * (spaces + 1))
    return (letters < 0.3 * (size - spaces)) | endless | (replaced > 0.1 * size)
