"""Words of texts as 64-bit hashes, many texts at a time: what copies and benchmark overlaps are found by.

A word is lower case and has no punctuation; in scripts without spaces each character is one. Knows nothing about what
the words are compared for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from gpt_research.corpora.utf8 import encoded, utf8_of

BLOCK = 1 << 16  # bytes or words per numpy call: the temporaries stay in the processor's cache
_LETTER, _WORD, _MIX = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93  # odd 64-bit multipliers

# Scripts written without spaces (Thai, Lao, Burmese, Khmer, kana, Han): each character is a word of its own.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF)),
)
_ALONE = 1 << 31


@dataclass(frozen=True, slots=True)
class Words:
    """The normalised words of a batch of texts, as 64-bit hashes; made by `hash_words`."""

    hashes: np.ndarray
    """(n_words,) uint64, text after text."""
    offsets: np.ndarray
    """(n_texts + 1,) int64: text i is `hashes[offsets[i]:offsets[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def slice(self, start: int, stop: int) -> Words:
        """Return texts `start` to `stop`, without copying."""
        offsets = self.offsets[start : stop + 1]
        return Words(self.hashes[offsets[0] : offsets[-1]], offsets - offsets[0])

    def select(self, texts: np.ndarray) -> Words:
        """Return the texts where the mask `texts` (n_texts,) is true."""
        counts = np.diff(self.offsets)
        return Words(self.hashes[np.repeat(texts, counts)], offsets_of(counts[texts]))

    def ngrams(self, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the n-grams in order, in bounded pieces: hashes (m,) uint64 and their texts (m,) int64.

        A text of fewer than n words has none.
        """
        for start in range(0, len(self.hashes) - n + 1, BLOCK):
            grams = _ngram_hashes(self.hashes[start : start + BLOCK + n - 1], n)
            stop = start + len(grams)
            first, last = np.searchsorted(self.offsets, (start, stop - 1), side="right") - 1
            texts = np.arange(first, last + 1)
            begin = np.maximum(self.offsets[first : last + 1], start)
            end = np.minimum(self.offsets[first + 1 : last + 2] - n + 1, stop)

            # The n - 1 places before a text's end would reach into the next text.
            inside = np.ones(len(grams), dtype=bool)
            crossing = (self.offsets[first + 1 : last + 2, None] - np.arange(1, n)).ravel() - start
            inside[crossing[(crossing >= 0) & (crossing < len(grams))]] = False
            yield grams[inside], np.repeat(texts, np.maximum(end - begin, 0))


def hash_words(texts: Sequence[str] | pa.LargeStringArray) -> Words:
    """Cut texts into lower-case words without punctuation and hash each word, about 150 MB/s a core.

    A word is a run of letters, marks and digits; punctuation separates, so that the tokenised `Teddy 's` and
    `guest @-@ starring` of WikiText equal `Teddy's` and `guest-starring`. In scripts without spaces every
    character is a word. What is punctuation is asked of Unicode 3.2, which every Python carries unchanged.
    """
    # A lone surrogate becomes a question mark, which separates as it does.
    data, bounds = utf8_of(texts if isinstance(texts, pa.Array) else encoded(texts, "replace"))
    starts, hashes = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)]
    for start, stop in _blocks(data.tobytes(), bounds):
        texts_begin = bounds[np.searchsorted(bounds, start) : np.searchsorted(bounds, stop)]
        places, found = _block_words(data[start:stop], texts_begin - start)
        starts.append(places + start)
        hashes.append(found)
    return Words(np.concatenate(hashes), np.searchsorted(np.concatenate(starts), bounds))


def _blocks(data: bytes, bounds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut the UTF-8 of texts into pieces (start, stop) of at most `BLOCK` bytes, each at a text's end or white space.

    Only a stretch of more than `BLOCK` without white space is cut elsewhere, and always at the same places: it begins
    a piece of its own.
    """
    start = 0
    while start < len(data):
        stop = min(start + BLOCK, len(data))
        if stop < len(data):
            text_end = int(bounds[np.searchsorted(bounds, stop, side="right") - 1])
            cut = max(text_end, data.rfind(b" ", start, stop) + 1, data.rfind(b"\n", start, stop) + 1)
            while cut <= start and data[stop] & 0xC0 == 0x80:  # within a character
                stop -= 1
            stop = cut if cut > start else stop
        yield start, stop
        start = stop


def _block_words(data: np.ndarray, texts_begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places where words start in a piece of UTF-8 (m,) uint8, and the words' hashes.

    The hash of a word is a polynomial in its characters' codes: one running sum of code times power gives all of them,
    as the sum over a word divided by the power at its start (the multiplier is odd, so it has an inverse modulo 2**64;
    separators count as zero).

    Args:
        texts_begin: where texts begin in the piece, for no word reaches from one into the next.
    """
    codes, characters = np.frombuffer(data.tobytes().translate(_ascii_codes()), dtype=np.uint8), None
    if (wide := np.flatnonzero(data >= 0xC0)).size:  # where characters beyond ASCII begin
        begins_one = (data & 0xC0) != 0x80
        codes, characters = codes[begins_one].astype(np.uint32), np.flatnonzero(begins_one)
        codes[np.searchsorted(characters, wide)] = _wide_codes(data, wide)
        texts_begin = np.searchsorted(characters, texts_begin)
    is_word = codes != 0
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    begins[texts_begin] = is_word[texts_begin]
    if characters is not None and (alone := codes >= _ALONE).any():
        begins |= alone
        begins[1:] |= is_word[1:] & alone[:-1]
    starts = np.flatnonzero(begins)

    powers, inverses = _letter_powers()
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.multiply(codes, powers[: len(codes)], out=sums[1:])
    np.cumsum(sums, out=sums)
    hashes = np.diff(np.append(sums[starts], sums[-1]))
    hashes *= inverses[starts]
    return starts if characters is None else characters[starts], mixed(hashes)


def _wide_codes(data: np.ndarray, first_bytes: np.ndarray) -> np.ndarray:
    """Return the codes (n,) uint32 of the characters beyond ASCII that begin at `first_bytes` in UTF-8."""
    one, two, three, four = (
        data[np.minimum(first_bytes + later, len(data) - 1)].astype(np.uint32) for later in range(4)
    )
    two, three, four = two & 63, three & 63, four & 63
    points = (one & 31) << 6 | two
    points = np.where(one < 0xE0, points, (one & 15) << 12 | two << 6 | three)
    points = np.where(one < 0xF0, points, (one & 7) << 18 | two << 12 | three << 6 | four)
    return _code_table().of(points)


class _CodeTable:
    """Codes of characters, each page of 256 worked out when one of it is first met."""

    def __init__(self) -> None:
        self.codes = np.zeros(0x110000, dtype=np.uint32)
        self.known = np.zeros(0x1100, dtype=bool)

    def of(self, points: np.ndarray) -> np.ndarray:
        """Return the codes (m,) uint32 of code points (m,)."""
        pages = points >> np.uint32(8)
        for page in np.unique(pages[~self.known[pages]]).tolist():
            first = page << 8
            self.codes[first : first + 256] = [_code(point) for point in range(first, first + 256)]
            self.known[page] = True
        return self.codes[points]


@lru_cache(maxsize=1)
def _code_table() -> _CodeTable:
    return _CodeTable()


@lru_cache(maxsize=1)
def _ascii_codes() -> bytes:
    """The code of each byte: none (0) for those of characters beyond ASCII."""
    return bytes([*map(_code, range(128)), *bytes(128)])


def _code(point: int) -> int:
    """Return a character's lower case, 0 for a separator, with `_ALONE` set where it is a word.

    Characters younger than Unicode 3.2 count as letters, emoji do not.
    """
    if 0x1F000 <= point < 0x1FB00 or point >= 0xE0000:
        return 0
    character = chr(point)
    kind = unicodedata.ucd_3_2_0.category(character)
    if kind[0] in "PSZ" or kind in ("Cc", "Cf", "Cs"):
        return 0
    is_unspaced = any(first <= point <= last for first, last in _UNSPACED)
    return ord(character.lower()[0]) | (_ALONE if is_unspaced else 0)


@lru_cache(maxsize=1)
def _letter_powers() -> tuple[np.ndarray, np.ndarray]:
    """(BLOCK + 1,) uint64 each: the powers of `_LETTER` from 0 up, and of its inverse modulo 2**64."""
    powers = np.full((2, BLOCK + 1), 1, dtype=np.uint64)
    powers[:, 1:] = [[_LETTER], [pow(_LETTER, -1, 2**64)]]
    np.multiply.accumulate(powers, axis=1, out=powers)
    return powers[0], powers[1]


def _ngram_hashes(words: np.ndarray, n: int) -> np.ndarray:
    """Hash every n neighbours: (m,) -> (m - n + 1,), by doubling the width as in binary powers."""
    grams, width = words, 1
    for bit in f"{n:b}"[1:]:
        grams = grams[:-width] * np.uint64(pow(_WORD, width, 2**64)) + grams[width:]
        width *= 2
        if bit == "1":
            grams = grams[:-1] * np.uint64(_WORD) + words[width : width + len(grams) - 1]
            width += 1
    return mixed(grams)


def mixed(values: np.ndarray) -> np.ndarray:
    """Spread uint64 values over all bits, one to one (the multiply-and-shift finish of MurmurHash3)."""
    values = values ^ (values >> np.uint64(32))
    values *= np.uint64(_MIX)
    values ^= values >> np.uint64(32)
    values *= np.uint64(_MIX)
    values ^= values >> np.uint64(32)
    return values


def offsets_of(counts: np.ndarray) -> np.ndarray:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))
