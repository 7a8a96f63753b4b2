"""Compiled loops that split texts into words and sentences.

The rules are those of spaCy's English tokenizer: pieces between white space; signs are cut off
their ends one by one; what is left is a special word, an address of the web, or is cut at signs
between letters. The loops are called through `compiled`; `characters` and `english` make their
tables.
"""

from __future__ import annotations

import numpy as np
from numba import int64, uint8, void

from gpt_research.preprocessing.filters.characters import (
    BEFORE_DOT,
    CURRENCY,
    LETTER,
    LOWER,
    PREFIX,
    PUNCTUATION,
    QUOTE,
    SENTENCE_END,
    SPACE,
    SUFFIX,
    SYMBOL,
    UPPER,
)
from gpt_research.preprocessing.filters.english import LONGEST, MULTIPLIER, PLACE_BITS
from gpt_research.preprocessing.filters.kernel_parts import (
    BYTES,
    HASHES,
    KINDS,
    OFFSETS,
    character,
    compiled,
    inlined,
    is_address,
)

_U64 = np.uint64
_BASE, _SHIFT, _LAST = _U64(MULTIPLIER), _U64(64 - PLACE_BITS), _U64((1 << PLACE_BITS) - 1)
_SPECIAL = (HASHES, uint8[:, ::1], uint8[:, ::1], HASHES)


@inlined
def _special(points, low, high, keys):  # type: ignore[no-untyped-def]
    """Return the place of the special word that the characters `low` to `high` are, or -1."""
    if high <= low or high - low > LONGEST:
        return -1
    value = _U64(0)
    for at in range(low, high):
        value = value * _BASE + _U64(points[at])
    place = value >> _SHIFT
    while keys[place]:
        if keys[place] == value:
            return int64(place)
        place = (place + _U64(1)) & _LAST
    return -1


@inlined
def _prefix(points, kinds, low, high):  # type: ignore[no-untyped-def]
    """Return how many characters are cut off the beginning."""
    point = points[low]
    if kinds[point] & PREFIX:
        return 1
    if point == 46:  # two or more full stops are an ellipsis, one is not cut off
        count = 1
        while low + count < high and points[low + count] == 46:
            count += 1
        return count if count > 1 else 0
    if point == 43:  # "+" but not before a number
        return int64(low + 1 == high or not 48 <= points[low + 1] <= 57)
    if high - low > 1 and points[low + 1] == 36 and (point == 65 or point == 67):  # A$ and C$
        return 2
    if high - low > 2 and point == 85 and points[low + 1] == 83 and points[low + 2] == 36:  # US$
        return 3
    return 0


@inlined
def _unit(points, low, high, units):  # type: ignore[no-untyped-def]
    """Return how many characters at the end are a unit of measurement behind a number: "5km"."""
    size = 0
    while size < 4 and high - size > low and not 48 <= points[high - size - 1] <= 57:
        size += 1
    return size if high - size > low and _special(points, high - size, high, units) >= 0 else 0


@inlined
def _suffix(points, kinds, low, high, units):  # type: ignore[no-untyped-def]
    """Return how many characters are cut off the end."""
    if high <= low:
        return 0
    point = points[high - 1]
    before = points[high - 2] if high - low > 1 else 0
    if (point == 115 or point == 83) and (before == 39 or before == 0x2019) and high - low > 1:  # 's
        return 2
    if kinds[point] & SUFFIX:
        return 1
    if high - low < 2:
        return 0
    if point == 46:
        count = 1
        while high - count > low and points[high - count - 1] == 46:
            count += 1
        if count > 1:
            return count
        if kinds[before] & BEFORE_DOT:
            return 1
        if kinds[before] & UPPER and high - low > 2 and kinds[points[high - 3]] & UPPER:
            return 1
        return 0
    if 48 <= before <= 57 and (point == 43 or kinds[point] & CURRENCY):
        return 1
    return _unit(points, low, high, units)


@inlined
def _infix(points, kinds, at, low, high):  # type: ignore[no-untyped-def]
    """Return how many characters at `at` are a sign between letters at which a word is cut."""
    point = points[at]
    if kinds[point] & LETTER or 48 <= point <= 57:
        return 0
    if point == 0x2026 or kinds[point] & SYMBOL:
        return 1
    if point == 46 and at + 1 < high and points[at + 1] == 46:
        count = 2
        while at + count < high and points[at + count] == 46:
            count += 1
        return count
    if at == low or at + 1 >= high:
        return 0
    before, after = kinds[points[at - 1]], kinds[points[at + 1]]
    number = 48 <= points[at - 1] <= 57
    if point == 46:
        return int64(before & (LOWER | QUOTE) != 0 and after & (UPPER | QUOTE) != 0)
    if point == 44:
        return int64(before & LETTER != 0 and after & LETTER != 0)
    after_number = 48 <= points[at + 1] <= 57 or points[at + 1] == 45
    if number and after_number and (point == 43 or point == 45 or point == 42 or point == 94):  # + - * ^
        return 1
    if before & LETTER or number:
        if point == 58 or point == 60 or point == 62 or point == 61 or point == 47:  # : < > = /
            return int64(after & LETTER != 0)
        if point == 45 or point == 0x2013 or point == 0x2014 or point == 126:  # hyphens and dashes
            if after & LETTER:
                return 1
            most = 3 if point == 45 else 2 if point == 0x2014 else 1
            count = 1
            while count < most and at + count < high and points[at + count] == point:
                count += 1
                if at + count < high and kinds[points[at + count]] & LETTER:
                    return count
    return 0


@inlined
def _split(data, first, stop, kinds, keys, cuts, units, points, places, pieces, late):  # type: ignore[no-untyped-def]
    """Split a run of characters without white space into words; return their number.

    Args:
        points, places, pieces: (m,) int64, written: the code points of the run, the byte after each
            of them, and the characters at which the words end.
        late: (m,) int64, for what is cut off the end.
    """
    size, at = 0, first
    while at < stop:
        points[size], at = character(data, at)
        places[size] = at
        size += 1
    low, high, count, held = 0, size, 0, 0
    place = _special(points, low, high, keys)
    while low < high and place < 0:
        prefix = _prefix(points, kinds, low, high)
        if prefix and low + prefix < high:
            place = _special(points, low + prefix, high, keys)
            if place >= 0:
                low += prefix
                pieces[count] = low
                count += 1
                break
        suffix = _suffix(points, kinds, low + prefix, high, units)
        if suffix and high - suffix > low:
            place = _special(points, low, high - suffix, keys)
            if place >= 0:
                late[held] = high
                held += 1
                high -= suffix
                break
        if not prefix and not suffix:
            break
        if prefix:
            low += prefix
            pieces[count] = low
            count += 1
        if suffix:
            late[held] = high
            held += 1
            high -= suffix
        place = _special(points, low, high, keys)
    if low < high:
        if place >= 0:
            for cut in cuts[place]:
                if cut:
                    pieces[count] = low + cut
                    count += 1
        elif not is_address(points, kinds, low, high):
            at, start = low + 1, low
            while at < high:
                sign = _infix(points, kinds, at, low, high)
                if sign:
                    if at > start:
                        pieces[count] = at
                        count += 1
                    pieces[count] = at + sign
                    count += 1
                    start = at + sign
                at += max(sign, 1)
            if start == high:
                count -= 1  # the end is added below
        pieces[count] = high
        count += 1
    for end in range(held - 1, -1, -1):
        pieces[count] = late[end]
        count += 1
    return _joined(points, count, keys, cuts, pieces) if count > 1 else count


@inlined
def _joined(points, count, keys, cuts, pieces):  # type: ignore[no-untyped-def]
    """Join neighbouring pieces that are a special word together, such as "Minn" and "." in
    "D-Minn."; return the number of words."""
    kept, piece, start = 0, 0, 0
    while piece < count:
        for last in range(min(piece + 4, count) - 1, piece, -1):
            place = _special(points, start, pieces[last], keys)
            if place >= 0:
                for cut in cuts[place]:
                    if cut:
                        pieces[kept] = start + cut
                        kept += 1
                piece = last
                break
        start = pieces[piece]
        pieces[kept] = start
        kept += 1
        piece += 1
    return kept


@inlined
def _run(data, at, stop, kinds):  # type: ignore[no-untyped-def]
    """Return the end of the run of characters without white space at a position, and the end of
    the ASCII letters that it begins with."""
    letters = at
    while letters < stop and uint8(uint8(data[letters] | uint8(32)) - uint8(97)) < 26:
        letters += 1
    end = letters
    while end < stop:
        byte = data[end]
        if byte < 128:
            if byte <= 32 and kinds[byte] & SPACE:
                break
            end += 1
        else:
            point, after = character(data, end)
            if kinds[point] & SPACE:
                break
            end = after
    return end, letters


@inlined
def _special_word(data, first, stop, keys, plain):  # type: ignore[no-untyped-def]
    """Return the place of the special word that ASCII letters are, or -1."""
    size = stop - first
    if size < 16 and plain[data[stop - 1] & 31, size] & 1 and plain[data[first] & 31, size] & 2:
        return _special(data, first, stop, keys)
    return -1


@inlined
def _mark_after(data, letters, end, at, kinds, keys):  # type: ignore[no-untyped-def]
    """Return whether letters and one mark after them are two words: "so," but not "Mr."."""
    if end - letters != 1 or letters == at:
        return False
    mark = data[letters]
    if mark == 46:
        return kinds[data[letters - 1]] & LOWER != 0 and _special(data, at, end, keys) < 0
    return mark == 44 or mark == 58 or mark == 59 or mark == 63 or mark == 33 or mark == 41 or mark == 34


@compiled(void(BYTES, OFFSETS, KINDS, *_SPECIAL, int64[::1], int64[::1], int64[::1]))
def split_words(data, bounds, kinds, keys, cuts, plain, units, starts, ends, offsets):  # type: ignore[no-untyped-def]
    """Split texts into words.

    Args:
        data, bounds: UTF-8 of the texts (m,) uint8; text i is data[bounds[i] : bounds[i + 1]].
        kinds: of `characters.table`.
        keys, cuts, plain, units: of `english.tables`.
        starts, ends: (m,) int64, written: the bytes where each word begins and ends.
        offsets: (n + 1,) int64, written: text i has the words offsets[i] to offsets[i + 1].
    """
    points, places = np.empty(len(data), dtype=np.int64), np.empty(len(data), dtype=np.int64)
    pieces, late = np.empty(len(data), dtype=np.int64), np.empty(len(data), dtype=np.int64)
    count = 0
    for text in range(len(bounds) - 1):
        offsets[text] = count
        at, stop = bounds[text], bounds[text + 1]
        while at < stop:
            end, letters = _run(data, at, stop, kinds)
            if end == at:
                _, at = character(data, at)
                continue
            marked = _mark_after(data, letters, end, at, kinds, keys)
            if letters == end or marked:
                place = _special_word(data, at, letters, keys, plain)
                start = at
                if place >= 0:
                    for cut in cuts[place]:
                        if cut:
                            starts[count], ends[count] = start, at + cut
                            start = at + cut
                            count += 1
                starts[count], ends[count] = start, letters
                count += 1
                if marked:
                    starts[count], ends[count] = letters, end
                    count += 1
            else:
                start = at
                for piece in range(_split(data, at, end, kinds, keys, cuts, units, points, places, pieces, late)):
                    starts[count], ends[count] = start, places[pieces[piece] - 1]
                    start = ends[count]
                    count += 1
            at = end
    offsets[len(bounds) - 1] = count


@inlined
def _sentences(data, first, stop, kinds, keys, cuts, units, points, places, pieces, late):  # type: ignore[no-untyped-def]
    """Return the number of sentences: a new one begins with the first word after the sign that
    ends one, closing quotation marks and brackets left aside."""
    count, ended, at = 1, False, first
    while at < stop:
        end, letters = _run(data, at, stop, kinds)
        if end == at:
            # White space of more than the one blank after a word counts as a word.
            if data[at] == 32 and at > first:
                at += 1
            start = at
            while at < stop:
                point, after = character(data, at)
                if not kinds[point] & SPACE:
                    break
                at = after
            if at > start and ended:
                count, ended = count + 1, False
            continue
        if letters == end or _mark_after(data, letters, end, at, kinds, keys):
            if ended:
                count += 1
            ended = letters < end and kinds[data[letters]] & SENTENCE_END != 0
        else:
            start = 0
            for piece in range(_split(data, at, end, kinds, keys, cuts, units, points, places, pieces, late)):
                ends_one = pieces[piece] - start == 1 and kinds[points[start]] & SENTENCE_END != 0
                signs = True
                for position in range(start, pieces[piece]):
                    signs &= kinds[points[position]] & PUNCTUATION != 0
                if ends_one:
                    ended = True
                elif ended and not signs:
                    count, ended = count + 1, False
                start = pieces[piece]
        at = end
    return count


@compiled(void(BYTES, OFFSETS, OFFSETS, KINDS, *_SPECIAL, int64[::1]))
def count_sentences(data, starts, stops, kinds, keys, cuts, plain, units, counts):  # type: ignore[no-untyped-def]
    """Count the sentences of texts.

    Args:
        data, starts, stops: UTF-8 (m,) uint8; text i is data[starts[i] : stops[i]].
        kinds to units: as of `split_words`.
        counts: (n,) int64, written.
    """
    points, places = np.empty(len(data), dtype=np.int64), np.empty(len(data), dtype=np.int64)
    pieces, late = np.empty(len(data), dtype=np.int64), np.empty(len(data), dtype=np.int64)
    for text in range(len(starts)):
        counts[text] = _sentences(
            data, starts[text], stops[text], kinds, keys, cuts, units, points, places, pieces, late
        )
