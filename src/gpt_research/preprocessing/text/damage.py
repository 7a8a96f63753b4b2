"""The characters that are damage in a text: one definition for repair and the compiled scan.

- Controls, byte-order marks and non-characters: `REPLACED` says what takes their place.
- C1 controls (U+0080 to U+009F): Windows-1252 that was read as Latin-1.
- Misread text (mojibake): UTF-8 that was read in another encoding shows a letter of one set
  followed by a sign of another. `MISREAD` lists the pairs of sets.
- Blanks at the end of a line: `BLANKS`.
- Blank lines: `BLANK_LINES`, of which one stays.

`tables` gives the same facts to the compiled scan. Knows nothing about how a text is mended.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

BLANKS = " \t\xa0\u3000"
"""Characters that are taken off the end of a line."""
REPLACED = {
    **dict.fromkeys([*range(9), *range(14, 32), 127, 0xFEFF, 0xFFFE, 0xFFFF]),
    **dict.fromkeys([0x0B, 0x0C, 0x0D, 0x2028, 0x2029], "\n"),
}
"""Code point -> its replacement, None for nothing; for `str.translate`."""
C1 = "".join(map(chr, range(0x80, 0xA0)))
"""Controls at whose code points Windows-1252 has signs."""
MISREAD = (
    # By Windows-1252 or Latin-1: an accented letter, and a sign of the upper half of either.
    ("".join(map(chr, range(0xC0, 0xF5))), "".join(map(chr, range(0x80, 0xC0))) + "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"),
    # By Mac Roman, and by a DOS code page.
    ("√", "©®§∂º±°≠≥"),
    ("‚", "Ä"),
    ("Γ", "Ç"),
)
"""(first, second): a character of `first` before one of `second` shows misread text."""

REPLACED_PATTERN = re.compile(f"[{''.join(map(chr, REPLACED))}]")
C1_PATTERN = re.compile(f"[{C1}]")
MISREAD_PATTERN = re.compile("|".join(f"[{first}][{second}]" for first, second in MISREAD))
# A pattern that begins with one literal character is searched for at gigabytes per second, and
# "\n{3,}" is not one.
BLANK_LINES = re.compile("\n\n\n+")

CONTROL, ODD, MISREAD_PAIR, UNTIDY = 1, 2, 4, 8
"""Bits of the signs in a text: a control of ASCII, another character of `REPLACED` or a C1 control,
a pair of `MISREAD`, and blanks or blank lines where none should be."""
_TABLE_SIZE = 1 << 16
_KIND_BLANK, _KIND_ODD, _KIND_SPACE, _KIND_FIRST = 1, 2, 4, 16


@lru_cache(maxsize=1)
def tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the definitions above as `kinds` and `followers` of `kernels.find_damage`."""
    kinds, followers = np.zeros((2, _TABLE_SIZE), dtype=np.uint8)
    kinds[[*map(ord, BLANKS)]] |= _KIND_BLANK
    kinds[[*REPLACED, *map(ord, C1)]] |= _KIND_ODD
    kinds[[point for point in range(_TABLE_SIZE) if chr(point).isspace()]] |= _KIND_SPACE
    for number, (first, second) in enumerate(MISREAD):
        kinds[[*map(ord, first)]] |= _KIND_FIRST << number
        followers[[*map(ord, second)]] |= 1 << number
    return kinds, followers
