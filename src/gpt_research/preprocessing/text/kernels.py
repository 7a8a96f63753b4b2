"""Loops over every byte or word of a text, compiled by numba to a few processor cycles for each.

All loops over texts are in this one file, because numba keeps machine code on disk until the source
file changes. The modules that call the loops explain what the numbers mean: `repair`, `words`,
`duplicates`, `contamination`. They call through `compiled`, because to import this module takes
half a second.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, int64, njit, types, uint8, uint32, uint64, void

from gpt_research.base.machine_code import compiled as _compiled

_U64 = np.uint64
_ONE, _ALL = _U64(1), _U64(2**64 - 1)
_LETTER, _WORD, _MIX = (_U64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))
_ALONE = _U64(1 << 31)
_BLOCK = _U64(128)
"""Bytes that are scanned before the results of the scan are looked at."""
_KIND_BLANK, _KIND_ODD, _KIND_SPACE, _KIND_FIRST = (np.uint8(1 << bit) for bit in (0, 1, 2, 4))
_CONTROL, _ODD, _MISREAD, _UNTIDY = (np.uint8(1 << bit) for bit in range(4))
"""Bits of `kinds` and of `signs` in `find_damage`; `damage` has the same."""
# The powers are a table, because with a running product the processor would wait for one letter to
# hash the next.
_POWERS = np.cumprod(np.array([1, *[_LETTER] * 255], dtype=np.uint64), dtype=np.uint64)


def _read(kind: types.Type) -> types.Array:
    """Return the type of a read-only array."""
    return types.Array(kind, 1, "C", readonly=True)


# With explicit types everything is compiled, or loaded, on import: once for all processes that are
# copies of one.
_BYTES, _HASHES, _OFFSETS = _read(uint8), _read(uint64), _read(int64)


@njit(inline="always")
def mixed(value):  # type: ignore[no-untyped-def]
    """Mix the bits of a uint64, one to one (the multiply-and-shift finish of MurmurHash3)."""
    value ^= value >> _U64(32)
    value *= _MIX
    value ^= value >> _U64(32)
    value *= _MIX
    return value ^ (value >> _U64(32))


@njit(inline="always")
def _code_point(data, position):  # type: ignore[no-untyped-def]
    """Return the code point beyond ASCII at a position of UTF-8, and the position after it."""
    one, two = _U64(data[position]), _U64(data[position + _ONE]) & _U64(63)
    if one < 0xE0:
        return (one & _U64(31)) << _U64(6) | two, position + _U64(2)
    three = _U64(data[position + _U64(2)]) & _U64(63)
    if one < 0xF0:
        return (one & _U64(15)) << _U64(12) | two << _U64(6) | three, position + _U64(3)
    four = _U64(data[position + _U64(3)]) & _U64(63)
    return (one & _U64(7)) << _U64(18) | two << _U64(12) | three << _U64(6) | four, position + _U64(4)


@njit
def _ends_in_space(data, first, stop, kinds):  # type: ignore[no-untyped-def]
    """Return whether the last character of a text of one byte or more is white space."""
    position = stop - _ONE
    if data[position] < 128:
        return data[position] <= 32
    while position > first and data[position] < 0xC0:
        position -= _ONE
    point, _ = _code_point(data, position)
    return point <= 0xFFFF and kinds[point & _U64(0xFFFF)] & _KIND_SPACE != 0


@njit(inline="always")
def _is_control(byte):  # type: ignore[no-untyped-def]
    return (byte < 32) & (byte != 9) & (byte != 10) | (byte == 127)


@njit(inline="always")
def _is_blank(byte):  # type: ignore[no-untyped-def]
    return (byte == 32) | (byte == 9)


@njit(inline="always")
def _signs_beyond_ascii(data, start, end, stop, kinds, followers):  # type: ignore[no-untyped-def]
    """Return the signs at positions `start` to `end` beyond ASCII, in a text that ends at
    `stop`."""
    signs = uint8(0)
    for position in range(start, end):
        if data[position] >= 0xC2:
            point, after = _code_point(data, position)
            kind = kinds[point & _U64(0xFFFF)]
            if kind and point <= 0xFFFF:
                following = data[after] if after < stop else uint8(0)
                if kind & _KIND_ODD:
                    signs |= _ODD
                if kind & _KIND_BLANK and following == 10:
                    signs |= _UNTIDY
                if kind >= _KIND_FIRST and following >= 128:
                    second, _ = _code_point(data, after)
                    if second <= 0xFFFF and followers[second] & kind // _KIND_FIRST:
                        signs |= _MISREAD
    return signs


@_compiled(void(_BYTES, _OFFSETS, _BYTES, _BYTES, uint8[::1]))
def find_damage(data, bounds, kinds, followers, signs):  # type: ignore[no-untyped-def]
    """Find the texts that `repair` may change, all of them and few others, and the reasons.

    Args:
        data, bounds: as of `hash_words`.
        kinds: (65536,) uint8, by code point: bit 0 is set for a blank that is taken off the end of
            a line, bit 1 for a character that is damage by itself, bit 2 for white space, bits 4 to
            7 for the first one of a misread pair.
        followers: (65536,) uint8, by code point: bit i is set for what makes a pair with a first
            one of bit 4 + i.
        signs: (n,) uint8, written: bit 0 for a control among the ASCII characters, bit 1 for
            another character that is damage by itself, bit 2 for a misread pair, bit 3 for blanks
            or blank lines where none should be.
    """
    for text in range(len(bounds) - 1):
        first, stop = _U64(bounds[text]), _U64(bounds[text + 1])
        head = min(first + _U64(2), stop)  # bytes without two others before them
        text_signs = _signs_beyond_ascii(data, first, head, stop, kinds, followers)
        if first < stop and (data[first] == 10 or _ends_in_space(data, first, stop, kinds)):
            text_signs |= _UNTIDY
        for position in range(first, head):
            if _is_control(data[position]):
                text_signs |= _CONTROL
            if position > first and data[position] == 10 and _is_blank(data[first]):
                text_signs |= _UNTIDY
        block = head
        while block < stop:
            end = min(block + _BLOCK, stop)
            # Only bytes and no branch, so that the processor handles 64 of them at once.
            control = loose = high = uint8(0)
            for position in range(block, end):
                byte, before, earlier = data[position], data[position - _ONE], data[position - _U64(2)]
                control = uint8(control | uint8(_is_control(byte)))
                loose = uint8(loose | uint8((byte == 10) & (_is_blank(before) | (before == 10) & (earlier == 10))))
                high = uint8(high | byte)
            if control:
                text_signs |= _CONTROL
            if loose:
                text_signs |= _UNTIDY
            if high >= 128:
                text_signs |= _signs_beyond_ascii(data, block, end, stop, kinds, followers)
            block = end
        signs[text] = text_signs


@_compiled(void(_BYTES, _OFFSETS, int64, uint32[:, ::1]))
def count_kinds(data, bounds, longest, counts):  # type: ignore[no-untyped-def]
    """Count the bytes of each kind in the middle of texts.

    Args:
        data, bounds: as of `hash_words`.
        longest: bytes of a text that are counted, at most.
        counts: (n, 5) uint32, written: the number of all bytes, and of those of letters, of white
            space, beyond ASCII, and of U+FFFD.
    """
    for text in range(len(bounds) - 1):
        size = min(bounds[text + 1] - bounds[text], longest)
        first = _U64(bounds[text] + (bounds[text + 1] - bounds[text] - size) // 2)
        stop = first + _U64(size)
        letters = spaces = beyond = replaced = uint32(0)
        for position in range(first, stop):
            byte = data[position]
            high = byte >= 128
            letters = uint32(letters + uint32(high | (uint8(uint8(byte | uint8(32)) - uint8(97)) < 26)))
            spaces = uint32(spaces + uint32((byte == 32) | (byte == 10)))
            beyond = uint32(beyond + uint32(high))
        if beyond:
            for position in range(first + _U64(2), stop):
                sign = (data[position - _U64(2)] == 0xEF) & (data[position - _ONE] == 0xBF) & (data[position] == 0xBD)
                replaced = uint32(replaced + uint32(3) * uint32(sign))
        counts[text, 0], counts[text, 1], counts[text, 2] = size, letters, spaces
        counts[text, 3], counts[text, 4] = beyond, replaced


@_compiled(int64(_BYTES, _OFFSETS, _read(uint32), _read(boolean), uint64[::1], int64[::1]))
def hash_words(data, bounds, codes, known, hashes, offsets):  # type: ignore[no-untyped-def]
    """Hash each word of texts in UTF-8: a polynomial in the codes of its characters (powers repeat
    after 256 of them).

    Args:
        data: (m,) uint8, the texts one after the other. Text i is data[bounds[i] : bounds[i + 1]].
        bounds: (n + 1,) int64.
        codes: (0x110000,) uint32: the code of a character, 0 if it separates words; bit 31 is set
            if it is a word.
        known: (0x1100,) bool: True for each page of 256 characters whose codes are set; the first
            page must be.
        hashes: uint64, written; must have room for m // 2 + n + 1.
        offsets: (n + 1,) int64, written: text i has the words hashes[offsets[i] : offsets[i + 1]].

    Returns:
        -1 if all words are hashed; else the first page that is not known. The caller then adds it
        and calls again.
    """
    count = _U64(0)
    for text in range(len(bounds) - 1):
        offsets[text] = count
        position, stop = _U64(bounds[text]), _U64(bounds[text + 1])
        value, length, inside = _U64(0), _U64(0), _U64(0)  # of the word so far
        while position < stop:
            byte = data[position]
            if byte < 128:
                # There is no branch here, because a wrong guess at each word's end would take twice
                # the time.
                code = _U64(codes[byte])
                is_letter = (code + _U64(0xFFFFFFFF)) >> _U64(32)
                hashes[count] = value
                count += inside & ~is_letter
                letters = _U64(0) - is_letter  # no bits or all
                value = (value + code * _POWERS[length & _U64(255)]) & letters
                length = (length + _ONE) & letters
                inside = is_letter
                position += _ONE
                continue
            point, position = _code_point(data, position)
            if not known[point >> _U64(8)]:
                return np.int64(point >> _U64(8))
            code = _U64(codes[point])
            if 0 < code < _ALONE:
                value += code * _POWERS[length & _U64(255)]
                length += _ONE
                inside = _ONE
                continue
            if inside:
                hashes[count] = value
                count += _ONE
                value, length, inside = _U64(0), _U64(0), _U64(0)
            if code:
                hashes[count] = code
                count += _ONE
        if inside:
            hashes[count] = value
            count += _ONE
    offsets[len(bounds) - 1] = count
    for word in range(count):
        hashes[word] = mixed(hashes[word])
    return np.int64(-1)


@_compiled(void(_HASHES, _OFFSETS, int64, uint64[::1]))
def hash_ngrams(words, offsets, n, grams):  # type: ignore[no-untyped-def]
    """Hash every n words in a row of each text with a rolling hash: a polynomial in the hashes of
    the words.

    Args:
        words, offsets: as of `hash_words`.
        grams: uint64, written: the n-grams, text after text; a text of fewer than n words has none.
    """
    leaving = _ONE
    for _ in range(n):
        leaving *= _WORD
    count = 0
    for text in range(len(offsets) - 1):
        first, stop = offsets[text], offsets[text + 1]
        if stop - first < n:
            continue
        value = _U64(0)
        for position in range(first, first + n):
            value = value * _WORD + words[position]
        grams[count] = mixed(value)
        count += 1
        for position in range(first + n, stop):
            value = value * _WORD + (words[position] - words[position - n] * leaving)
            grams[count] = mixed(value)
            count += 1


@_compiled(void(_HASHES, _OFFSETS, _HASHES, _HASHES, int64, uint8[:, ::1]))
def sketch(grams, offsets, factors, terms, rounds, sketches):  # type: ignore[no-untyped-def]
    """Sketch the set of n-grams of each text (Fast Similarity Sketching, see `duplicates.MinHash`).

    In every round each n-gram gets one slot and a rank, and a slot keeps the n-gram of the least
    rank. Ranks of later rounds are greater, so the rounds end when no slot is empty. A long text
    needs one round, a short one all of them, and a slot that is empty after that takes the least
    n-gram under a hash function of its own.

    Args:
        grams, offsets: hashes of n-grams (m,) uint64 and where each text's begin (n + 1,) int64.
        factors, terms: (rounds + slots,) uint64, of the hash functions.
        sketches: (n, slots) uint8, written; zero for a text without n-grams.
    """
    slots = sketches.shape[1]
    ranks = np.empty(slots, dtype=np.uint64)
    for text in range(len(offsets) - 1):
        mine = grams[offsets[text] : offsets[text + 1]]
        sketches[text] = 0
        if not len(mine):
            continue
        ranks[:] = _ALL
        empty, number = slots, 0
        while empty and number < rounds:
            factor, term, tag = factors[number], terms[number], _U64(number) << _U64(48)
            for gram in mine:
                value = gram * factor + term
                slot = ((value >> _U64(32)) * _U64(slots)) >> _U64(32)
                rank = (value & _U64((1 << 48) - 1)) | tag  # the bits above chose the slot
                if rank < ranks[slot]:
                    empty -= ranks[slot] == _ALL
                    ranks[slot] = rank
            number += 1
        for slot in range(slots):
            if ranks[slot] == _ALL:
                factor, term = factors[rounds + slot], terms[rounds + slot]
                for gram in mine:
                    ranks[slot] = min(ranks[slot], gram * factor + term)
            # The high bits of a rank are small, because the least one was kept. Those of the mixed
            # rank are not.
            sketches[text, slot] = mixed(ranks[slot]) >> _U64(56)


@njit(inline="always")
def _sieve_bits(value):  # type: ignore[no-untyped-def]
    """Return a uint64 with up to three bits set, chosen by the lowest 18 of a hash."""
    six = _U64(63)
    return _ONE << (value & six) | _ONE << (value >> _U64(6) & six) | _ONE << (value >> _U64(12) & six)


@_compiled(void(_HASHES, int64, uint64[::1]))
def fill_sieve(known, key_bits, sieve):  # type: ignore[no-untyped-def]
    """Set bits of `sieve` (2**key_bits,) uint64, zero before, for known hashes (see
    `find_known`)."""
    for value in known:
        sieve[value >> _U64(64 - key_bits)] |= _sieve_bits(value)


@_compiled(int64(_HASHES, _OFFSETS, _HASHES, int64, _HASHES, _OFFSETS, int64[::1], int64[::1]))
def find_known(grams, offsets, known, key_bits, sieve, starts, texts, indices):  # type: ignore[no-untyped-def]
    """Find the n-grams that are among the known ones.

    Args:
        grams, offsets: hashes of n-grams (m,) uint64 and where each text's begin (n + 1,) int64.
        known: sorted hashes, uint64.
        key_bits: the number of highest bits of a hash that are its key.
        sieve: (2**key_bits,) uint64, of `fill_sieve`: 64 bits for each key. A hash one of whose
            bits is not set there is not known.
        starts: (2**key_bits + 1,) int64: the index in `known` at which each key begins.
        texts, indices: int64 with room for m, written: text and index in `known` of each n-gram
            that was found.

    Returns:
        The number of n-grams that were found.
    """
    shift, count = _U64(64 - key_bits), 0
    for text in range(len(offsets) - 1):
        for gram in grams[offsets[text] : offsets[text + 1]]:
            key, bits = gram >> shift, _sieve_bits(gram)
            if sieve[key] & bits == bits:
                for index in range(starts[key], starts[key + _ONE]):
                    if known[index] == gram:
                        texts[count], indices[count] = text, index
                        count += 1
    return count
