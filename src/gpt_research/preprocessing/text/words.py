"""Words of many texts as 64-bit hashes, by which copies and overlaps with benchmarks are found.

A word is in lower case and has no punctuation. In scripts without spaces each character is a word.
Knows nothing about copies and benchmarks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from gpt_research.preprocessing.text import compiled
from gpt_research.preprocessing.text.arrow import encoded, utf8_of

# Scripts without spaces (Thai, Lao, Burmese, Khmer, kana, Han), in which each character is a word.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF)),
)
_ALONE = 1 << 31


@dataclass(frozen=True, slots=True)
class Words:
    """The normalised words of a batch of texts, as 64-bit hashes (see `hash_words`)."""

    hashes: np.ndarray
    """(n_words,) uint64, text after text."""
    offsets: np.ndarray
    """(n_texts + 1,) int64: text i is `hashes[offsets[i]:offsets[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def ngrams(self, n: int) -> Words:
        """Return a hash for every n words in a row; a text of fewer words has none."""
        offsets = offsets_of(np.maximum(np.diff(self.offsets) - n + 1, 0))
        grams = np.empty(offsets[-1], dtype=np.uint64)
        compiled.hash_ngrams(self.hashes, self.offsets, n, grams)
        return Words(grams, offsets)


def hash_words(texts: Sequence[str] | pa.LargeStringArray) -> Words:
    """Split texts into lower-case words without punctuation and hash each word, at 330 to 450 MB/s
    on a core.

    A word is a run of letters, marks and digits. Punctuation separates words, so the tokenised
    `Teddy 's` and `guest @-@ starring` of WikiText equal `Teddy's` and `guest-starring`. In scripts
    without spaces every character is a word. Unicode 3.2 decides what punctuation is, because every
    version of Python has the same tables of it.
    """
    # A lone surrogate becomes a question mark, and both separate words.
    data, bounds = utf8_of(texts if isinstance(texts, pa.Array) else encoded(texts, "replace"))
    hashes, offsets = np.empty(len(data) // 2 + len(bounds), dtype=np.uint64), np.zeros_like(bounds)
    table = _code_table()
    while len(data) and (page := compiled.hash_words(data, bounds, table.codes, table.known, hashes, offsets)) >= 0:
        table.learn(page)
    return Words(hashes[: offsets[-1]], offsets)


class _CodeTable:
    """Codes of characters, computed for a page of 256 when a text first has one of them."""

    def __init__(self) -> None:
        self.codes = np.zeros(0x110000, dtype=np.uint32)
        self.known = np.zeros(0x1100, dtype=bool)
        self.learn(0)

    def learn(self, page: int) -> None:
        first = page << 8
        self.codes[first : first + 256] = [_code(point) for point in range(first, first + 256)]
        self.known[page] = True


@lru_cache(maxsize=1)
def _code_table() -> _CodeTable:
    return _CodeTable()


def _code(point: int) -> int:
    """Return a character's lower case, or 0 for a separator; `_ALONE` is set if the character is a
    word.

    Characters that are newer than Unicode 3.2 count as letters, but emoji do not.
    """
    if 0x1F000 <= point < 0x1FB00 or point >= 0xE0000:
        return 0
    character = chr(point)
    kind = unicodedata.ucd_3_2_0.category(character)
    if kind[0] in "PSZ" or kind in ("Cc", "Cf", "Cs"):
        return 0
    is_unspaced = any(first <= point <= last for first, last in _UNSPACED)
    return ord(character.lower()[0]) | (_ALONE if is_unspaced else 0)


def offsets_of(counts: np.ndarray) -> np.ndarray:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))
