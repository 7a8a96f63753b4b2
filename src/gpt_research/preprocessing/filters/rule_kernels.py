"""Compiled loops that find what is repeated within a text: words in a row, lines and paragraphs.
They are called through `compiled`.

Whether two pieces are equal is decided by 64-bit hashes, so about one pair in 10**19 is taken for
equal wrongly.
"""

from __future__ import annotations

import numpy as np
from numba import int64, uint8, uint64, void

from gpt_research.preprocessing.filters.characters import LETTER, MARK
from gpt_research.preprocessing.filters.english import MULTIPLIER
from gpt_research.preprocessing.filters.kernel_parts import (
    BYTES,
    HASHES,
    KINDS,
    OFFSETS,
    character,
    compiled,
    inlined,
    stripped,
)
from gpt_research.preprocessing.text.kernels import mixed

_U64 = np.uint64
_BASE, _WORD = _U64(MULTIPLIER), _U64(0xC2B2AE3D27D4EB4F)
_UNDO = _U64(pow(MULTIPLIER, -1, 2**64))
"""`_BASE` times this is 1, modulo 2**64."""


@compiled(void(BYTES, OFFSETS, OFFSETS, KINDS, int64[::1], uint8[::1], uint64[::1], uint64[::1], uint64[::1]))
def describe_words(data, starts, ends, kinds, characters, signs, hashes, sums, undo):  # type: ignore[no-untyped-def]
    """Describe the words of a batch.

    The words are taken for one long number, whose digits are their bytes. `sums` holds its value
    before each word, so the hash of the words i to j without anything between them is
    (sums[j] - sums[i]) * undo[i], wherever the border of the words is.

    Args:
        data, starts, ends, kinds: as of `split_words`; w words.
        characters: (w + 1,) int64, written: of all words before this one.
        signs: (w,) uint8, written: bit 0 if a word has a letter, bit 1 if it has a character that
            is no mark.
        hashes: (w,) uint64, written.
        sums, undo: (w + 1,) uint64, written.
    """
    total, value, power, back = 0, _U64(0), _U64(1), _U64(1)
    for word in range(len(starts)):
        characters[word], sums[word], undo[word] = total, value, back
        sign, at, stop = uint8(0), starts[word], ends[word]
        for position in range(at, stop):
            value += _U64(data[position]) * power
            power *= _BASE
            back *= _UNDO
        hashes[word] = mixed((value - sums[word]) * undo[word])
        while at < stop:
            point, at = character(data, at)
            kind = kinds[point]
            sign |= uint8((kind & LETTER != 0) | (kind & MARK == 0) << 1)
            total += 1
        signs[word] = sign
    characters[len(starts)], sums[len(starts)], undo[len(starts)] = total, value, back


@inlined
def _place(keys, mask, key):  # type: ignore[no-untyped-def]
    """Return the place of a key in a hash table, or the free place where it belongs."""
    place = key & mask
    while keys[place] and keys[place] != key:
        place = (place + _U64(1)) & mask
    return place


@inlined
def _emptied(keys, items):  # type: ignore[no-untyped-def]
    """Empty the part of a hash table that so many items need; return the mask of its places."""
    size = 16
    while size < 2 * items:
        size *= 2
    keys[:size] = 0
    return _U64(size - 1)


@inlined
def _breaks(data, first, stop):  # type: ignore[no-untyped-def]
    count = 0
    for position in range(first, stop):
        count += data[position] == 10
    return count


@inlined
def _pieces(data, first, stop, breaks, keys):  # type: ignore[no-untyped-def]
    """Return the number of pieces between runs of at least `breaks` line breaks, the number of
    those that are copies, and the characters of the copies."""
    mask = _emptied(keys, _breaks(data, first, stop) + 1)
    count, copies, copied, at = 0, 0, 0, first
    while True:
        value, size = _U64(0), 0
        while at < stop:
            byte = data[at]
            if byte == 10:
                run = at
                while run < stop and data[run] == 10:
                    run += 1
                if run - at >= breaks:
                    break
            value = value * _BASE + _U64(byte)
            size += byte & 0xC0 != 0x80
            at += 1
        count += 1
        key = mixed(value) | _U64(1)
        place = _place(keys, mask, key)
        if keys[place]:
            copies, copied = copies + 1, copied + size
        keys[place] = key
        if at == stop:
            return count, copies, copied
        while at < stop and data[at] == 10:
            at += 1


@inlined
def _most_frequent(hashes, characters, first, stop, n, keys, counts, firsts):  # type: ignore[no-untyped-def]
    """Return the characters of all occurrences of the most frequent n words in a row, with blanks
    between them; of equally frequent ones the earliest counts."""
    if stop - first < n:
        return 0
    mask = _emptied(keys, stop - first)
    leaving, value = _U64(1), _U64(0)
    for word in range(first, first + n):
        leaving *= _WORD
        value = value * _WORD + hashes[word]
    best, most = _U64(0), 0
    for word in range(first, stop - n + 1):
        key = mixed(value) | _U64(1)
        place = _place(keys, mask, key)
        if not keys[place]:
            keys[place], counts[place], firsts[place] = key, 0, word
        counts[place] += 1
        if counts[place] > most or (counts[place] == most and firsts[place] < firsts[best]):
            most, best = counts[place], place
        if word + n < stop:
            value = value * _WORD + (hashes[word + n] - hashes[word] * leaving)
    return most * (characters[firsts[best] + n] - characters[firsts[best]] + n - 1)


@inlined
def _copied(sums, undo, characters, first, stop, n, keys):  # type: ignore[no-untyped-def]
    """Return the characters of the n words in a row that were there before, each counted once."""
    mask = _emptied(keys, stop - first)
    copied, word = 0, first
    while word <= stop - n:
        key = mixed((sums[word + n] - sums[word]) * undo[word]) | _U64(1)
        place = _place(keys, mask, key)
        if keys[place]:
            copied += characters[word + n] - characters[word]
            word += n
        else:
            keys[place] = key
            word += 1
    return copied


@inlined
def _room(bounds, firsts, lasts):  # type: ignore[no-untyped-def]
    """Return the places that a hash table needs for the pieces of any of the texts."""
    most = 16
    for text in range(len(firsts)):
        most = max(most, (bounds[text + 1] - bounds[text]) // 2 + 2, lasts[text] - firsts[text])
    return 4 * most


@compiled(
    void(
        *(BYTES, OFFSETS, KINDS, OFFSETS, OFFSETS, OFFSETS, HASHES, HASHES, HASHES),
        *(OFFSETS, OFFSETS, int64[:, ::1]),
    )
)
def count_repeated(  # type: ignore[no-untyped-def]
    data, bounds, kinds, firsts, lasts, characters, hashes, sums, undo, tops, copies, counts
):
    """Count what Gopher's repetition rules ask for.

    Args:
        data, bounds, kinds: as of `split_words`.
        firsts, lasts: (n,) int64: text i has the words firsts[i] to lasts[i].
        characters, hashes, sums, undo: of `describe_words`.
        tops: the numbers n for which the most frequent n words in a row are wanted.
        copies: the numbers n for which copies of n words in a row are wanted.
        counts: (n, 7 + tops + copies) int64, written: characters; paragraphs, those that are
            copies, and their characters; lines, copies, characters; then characters for each of
            `tops` and of `copies`.
    """
    room = _room(bounds, firsts, lasts)
    keys, times, places = np.empty(room, dtype=np.uint64), np.empty(room, np.int32), np.empty(room, dtype=np.int64)
    for text in range(len(bounds) - 1):
        first, stop = bounds[text], bounds[text + 1]
        row, begin, end = counts[text], firsts[text], lasts[text]
        row[0] = 0
        for position in range(first, stop):
            row[0] += data[position] & 0xC0 != 0x80
        row[4], row[5], row[6] = _pieces(data, first, stop, 1, keys)
        first, stop = stripped(data, first, stop, kinds)
        row[1], row[2], row[3] = _pieces(data, first, stop, 2, keys)
        at = 7
        for n in tops:
            row[at] = _most_frequent(hashes, characters, begin, end, n, keys, times, places)
            at += 1
        for n in copies:
            row[at] = _copied(sums, undo, characters, begin, end, n, keys)
            at += 1


@compiled(void(BYTES, OFFSETS, KINDS, int64[::1]))
def count_copied_lines(data, bounds, kinds, copied):  # type: ignore[no-untyped-def]
    """Count the characters of lines that are copies of an earlier line of the text, blank ones
    left aside, as FineWeb does: `copied` (n,) int64 is written."""
    keys = np.empty(4 * (len(data) // 2 + 16), dtype=np.uint64)
    for text in range(len(bounds) - 1):
        at, stop = bounds[text], bounds[text + 1]
        mask, copied[text] = _emptied(keys, _breaks(data, at, stop) + 1), 0
        while at < stop:
            value, size, end = _U64(0), 0, at
            while end < stop and data[end] != 10:
                value = value * _BASE + _U64(data[end])
                size += data[end] & 0xC0 != 0x80
                end += 1
            first, last = stripped(data, at, end, kinds)
            if first < last:
                key = mixed(value) | _U64(1)
                place = _place(keys, mask, key)
                copied[text] += size if keys[place] else 0
                keys[place] = key
            at = end + 1


@compiled(void(HASHES, OFFSETS, OFFSETS, HASHES, int64[::1]))
def count_different(hashes, firsts, lasts, wanted, counts):  # type: ignore[no-untyped-def]
    """Count the different words of a list that a text has.

    Args:
        hashes, firsts, lasts: as of `count_repeated`.
        wanted: the hashes of up to 64 words.
        counts: (n,) int64, written.
    """
    for text in range(len(firsts)):
        found = _U64(0)
        for word in range(firsts[text], lasts[text]):
            for index in range(len(wanted)):
                if hashes[word] == wanted[index]:
                    found |= _U64(1) << _U64(index)
        counts[text] = 0
        while found:
            found &= found - _U64(1)
            counts[text] += 1
