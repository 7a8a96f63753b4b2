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

BLOCK = 1 << 16  # characters or words per numpy call: the temporaries stay in the processor's cache
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


def hash_words(texts: Sequence[str]) -> Words:
    """Cut texts into lower-case words without punctuation and hash each word, about 100 MB/s a core.

    A word is a run of letters, marks and digits; punctuation separates, so that the tokenised `Teddy 's` and
    `guest @-@ starring` of WikiText equal `Teddy's` and `guest-starring`. In scripts without spaces every
    character is a word. What is punctuation is asked of Unicode 3.2, which every Python carries unchanged.
    """
    counts = np.zeros(len(texts), dtype=np.int64)
    hashes = [np.empty(0, dtype=np.uint64)]
    for pieces, owners in _blocks(texts):
        found, starts = _block_words("\n".join(pieces))
        lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        words_before = np.searchsorted(starts, offsets_of(lengths + 1))
        np.add.at(counts, owners, np.diff(words_before))
        hashes.append(found)
    return Words(np.concatenate(hashes), offsets_of(counts))


def _blocks(texts: Sequence[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield pieces of texts with their indices, at most `BLOCK` characters together."""
    pieces: list[str] = []
    owners: list[int] = []
    room = BLOCK
    for owner, text in enumerate(texts):
        for piece in (text,) if len(text) < BLOCK else _pieces(text):
            if len(piece) >= room:
                yield pieces, owners
                pieces, owners, room = [], [], BLOCK
            pieces.append(piece)
            owners.append(owner)
            room -= len(piece) + 1  # the line break that joins it to the next
    if pieces:
        yield pieces, owners


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at white space; a stretch without any is cut where the room ends."""
    start = 0
    while start < len(text):
        stop = start + BLOCK - 1
        if stop < len(text):
            space = max(text.rfind(" ", start + 1, stop), text.rfind("\n", start + 1, stop))
            stop = space if space > 0 else stop
        yield text[start:stop]
        start = stop


def _block_words(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the word hashes of a short text and the places (characters) where the words start.

    The hash of a word is a polynomial in its characters: one running sum of character times power gives all
    of them, as the sum over a word divided by the power at its start (the multiplier is odd, so it has an
    inverse modulo 2**64; separators count as zero).
    """
    codes = _character_codes().take(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32))
    is_word = codes != 0
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    alone = codes >= _ALONE
    if alone.any():
        begins |= alone
        begins[1:] |= is_word[1:] & alone[:-1]
    starts = np.flatnonzero(begins)

    powers, inverses = _letter_powers()
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.multiply(codes, powers[: len(codes)], out=sums[1:])
    np.cumsum(sums, out=sums)
    hashes = np.diff(np.append(sums[starts], sums[-1]))
    hashes *= inverses[starts]
    return mixed(hashes), starts


@lru_cache(maxsize=1)
def _character_codes() -> np.ndarray:
    """(0x110000,) uint32: a character's lower case, 0 for a separator, `_ALONE` set where it is a word.

    Takes 0.2 s, once in a process. Characters younger than Unicode 3.2 count as letters, emoji do not.
    """
    codes = np.arange(0x110000, dtype=np.uint32)
    category = unicodedata.ucd_3_2_0.category
    for code in range(0x20000):  # the planes above hold Han characters and nothing with upper case
        character = chr(code)
        kind = category(character)
        separates = kind[0] in "PSZ" or kind in ("Cc", "Cf", "Cs")
        codes[code] = 0 if separates else ord(character.lower()[0])
    codes[0x1F000:0x1FB00] = 0
    codes[0xE0000:] = 0
    for first, last in _UNSPACED:
        part = codes[first : last + 1]
        part[part != 0] |= np.uint32(_ALONE)
    return codes


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
