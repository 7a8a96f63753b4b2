"""Classes of characters that the rules of filters ask for, as one table by code point.

The sets are those of datatrove (marks and ends of sentences) and of spaCy's English rules (what is
cut off a word), so that the same texts are dropped. Letters, white space, digits and symbols are
Unicode's, in the version that Python has.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np

SPACE, LINE_END, LETTER, DIGIT, MARK, TERMINAL, LOWER, UPPER = (1 << bit for bit in range(8))
PREFIX, SUFFIX, SYMBOL, CURRENCY, QUOTE, PUNCTUATION = (1 << bit for bit in range(8, 14))
SENTENCE_END, BEFORE_DOT, HOST = (1 << bit for bit in range(14, 17))
"""Bits of `table`. For the words of a text: what is cut off before (PREFIX) and after (SUFFIX) a
word, what may stand before a full stop that is cut off (BEFORE_DOT), and what a host's name is made
of (HOST)."""

_MARKS = """
    0-8 B-1F 21-2F 3A-40 5B-60 7B-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001-3002 3008-300D
    3010-3011 FF01 FF05 FF08-FF09 FF0C FF0E FF11 FF1A-FF1B FF1F FF5E
"""
"""Code points, hexadecimal: punctuation and controls. A word of these alone is a symbol."""
_SENTENCE_ENDS = """
    21 2E 3F 589 61F 6D4 700-702 7F9 964-965 104A-104B 1362 1367-1368 166E 1735-1736 1803 1809 1944-1945 1AA8-1AAB
    1B5A-1B5B 1B5E-1B5F 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 2E2E 2E3C 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877
    A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 11047-11048
    110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3
    115C9-115D7 11641-11642 1173C-1173E 11A42-11A43 11A9B-11A9C 11C41-11C42 16A6E-16A6F 16AF5 16B37-16B38 16B44 1BC9F
    1DA88
"""
_OTHER_TERMINALS = """
    61D-61E 837 839 83D-83E 17D4-17D6 17D9-17DA 1B7D-1B7E 2E53-2E54 10F55-10F59 10F86-10F89 11944 11946 11EF7-11EF8
    11F43-11F44 16E98
"""
"""With `_SENTENCE_ENDS`, the signs by which a line ends as prose does."""
_CUT = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_CURRENCIES = "$£€¥฿₽﷼₾₿" + "".join(map(chr, range(0x20A0, 0x20BD)))


@lru_cache(maxsize=1)
def table() -> np.ndarray:
    """Return the classes of each character, (0x110000,) uint32, by its code point."""
    kinds = np.zeros(0x110000, dtype=np.uint32)
    everything = np.arange(0x110000, dtype=np.uint32).view("U1")
    letters, upper = np.strings.isalpha(everything), np.strings.isupper(everything)
    lower = letters & ~upper & ~np.strings.istitle(everything)  # a letter without case counts as both
    kinds[letters] |= LETTER
    kinds[lower] |= LOWER
    kinds[upper | lower & ~np.strings.islower(everything)] |= UPPER
    kinds[np.strings.isdecimal(everything)] |= DIGIT
    kinds[np.strings.isspace(everything)] |= SPACE
    kinds[[0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029]] |= LINE_END
    kinds[_points(_MARKS) + _points(_SENTENCE_ENDS) + _points(_OTHER_TERMINALS)] |= MARK
    kinds[_points(_SENTENCE_ENDS) + _points(_OTHER_TERMINALS)] |= TERMINAL
    kinds[_points(_SENTENCE_ENDS)] |= SENTENCE_END
    categories = [unicodedata.category(chr(point)) for point in range(0x20000)]  # there are none above
    kinds[[point for point, category in enumerate(categories) if category[0] == "P"]] |= PUNCTUATION
    kinds[[point for point, category in enumerate(categories) if category == "So"]] |= SYMBOL | PREFIX | SUFFIX
    kinds[_ords(_CUT + _QUOTES)] |= PREFIX | SUFFIX | BEFORE_DOT
    kinds[_ords("—–")] |= PREFIX | SUFFIX
    kinds[_ords("§%=" + _CURRENCIES)] |= PREFIX
    kinds[_ords(_CURRENCIES)] |= CURRENCY
    kinds[_ords(_QUOTES)] |= QUOTE
    kinds[_ords("%²-+|0123456789")] |= BEFORE_DOT
    kinds[lower] |= BEFORE_DOT
    kinds[_ords("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] |= HOST
    kinds[0xA1:0x10000] |= HOST
    return kinds


def _points(ranges: str) -> list[int]:
    """Return the code points of ranges like "21-2F 3F"."""
    points: list[int] = []
    for piece in ranges.split():
        first, _, last = piece.partition("-")
        points += range(int(first, 16), int(last or first, 16) + 1)
    return points


def _ords(characters: str) -> list[int]:
    return [ord(character) for character in characters]
