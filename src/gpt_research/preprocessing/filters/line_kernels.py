"""Compiled loops over the lines of texts: which of them C4 keeps, and what the other filters count
in them. They are called through `compiled`.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, int64, types, uint8, void

from gpt_research.preprocessing.filters.characters import DIGIT, LINE_END, SPACE, TERMINAL
from gpt_research.preprocessing.filters.kernel_parts import (
    BYTES,
    KINDS,
    OFFSETS,
    character,
    compiled,
    inlined,
    stripped,
)

_LOREM, _JAVASCRIPT, _CURLY, _POLICY = (1 << bit for bit in range(4))
_PHRASES = (
    (b"lorem ipsum", _LOREM),
    (b"javascript", _JAVASCRIPT),
    (b"terms of use", _POLICY),
    (b"privacy policy", _POLICY),
    (b"cookie policy", _POLICY),
    (b"uses cookies", _POLICY),
    (b"use of cookies", _POLICY),
    (b"use cookies", _POLICY),
)
_LETTERS = np.zeros((len(_PHRASES), 16), dtype=np.uint8)
_FOUND = np.array([sign for _, sign in _PHRASES], dtype=np.int64)
_BEGINS = np.zeros(256, dtype=np.uint8)
for _row, (_phrase, _) in enumerate(_PHRASES):
    _LETTERS[_row, : len(_phrase)] = list(_phrase)
    _BEGINS[[_phrase[0], _phrase[0] - 32]] = 1
_BEGINS[ord("{")] = 1


@inlined
def _phrases(data, first, stop):  # type: ignore[no-untyped-def]
    """Return which phrases a line has in any case (bits of `_PHRASES`), and whether it has "{"."""
    signs = 0
    for at in range(first, stop):
        if not _BEGINS[data[at]]:
            continue
        if data[at] == 123:
            signs |= _CURLY
            continue
        for phrase in range(len(_FOUND)):
            here, letter = at, 0
            while _LETTERS[phrase, letter] and here < stop:
                wanted, byte = _LETTERS[phrase, letter], data[here]
                if byte == wanted or (wanted != 32 and byte == wanted - 32):
                    here += 1
                elif (
                    wanted == 107
                    and byte == 0xE2
                    and here + 2 < stop
                    and data[here + 1] == 0x84
                    and (data[here + 2] == 0xAA)
                ):
                    here += 3  # the sign of kelvin is "k" in lower case
                else:
                    break
                letter += 1
            if not _LETTERS[phrase, letter]:
                signs |= _FOUND[phrase]
    return signs


@inlined
def _citation(data, at, stop, kinds):  # type: ignore[no-untyped-def]
    """Return the end of "[1]", "[]", "[edit]" or "[citation needed]" at a position, or 0."""
    end = at + 1
    while end < stop:
        point, after = character(data, end)
        if not kinds[point] & DIGIT:
            break
        end = after
    if end < stop and data[end] == 93:
        return end + 1
    for phrase in (b"[edit]", b"[citation needed]"):
        size = 0
        while size < len(phrase) and at + size < stop and data[at + size] == phrase[size]:
            size += 1
        if size == len(phrase):
            return at + size
    return 0


@inlined
def _line_words(data, first, stop, kinds):  # type: ignore[no-untyped-def]
    """Return the number of words between white space, and the characters of the longest."""
    count, longest, size, at = 0, 0, 0, first
    while at < stop:
        point, after = character(data, at)
        space = kinds[point] & SPACE != 0
        count += not space and size == 0
        size = 0 if space else size + 1
        longest = max(longest, size)
        at = after
    return count, longest


@inlined
def _ends_a_sentence(data, first, stop):  # type: ignore[no-untyped-def]
    """Return whether a line ends in . ? ! or a quotation mark, but not in an ellipsis."""
    if stop == first:
        return False
    last = data[stop - 1]
    if last == 46:
        return not (stop - first > 2 and data[stop - 2] == 46 and data[stop - 3] == 46)
    return last == 63 or last == 33 or last == 34 or last == 39


@inlined
def _line(data, at, stop, kinds):  # type: ignore[no-untyped-def]
    """Return where the line at a position ends, and where the next one begins."""
    while at < stop:
        if 32 <= data[at] < 127:
            at += 1
            continue
        point, after = character(data, at)
        if kinds[point] & LINE_END:
            return at, after + (point == 13 and after < stop and data[after] == 10)
        at = after
    return stop, stop


@compiled(
    void(
        *(BYTES, OFFSETS, KINDS, types.Array(boolean, 1, "C", readonly=True), int64, int64),
        *(uint8[::1], int64[:, ::1], int64[::1], int64[::1], int64[::1], uint8[::1]),
    )
)
def keep_lines(  # type: ignore[no-untyped-def]
    data, bounds, kinds, rules, min_words, longest_word, out, kept, starts, stops, lines, reasons
):
    """Keep the lines of texts that read like prose, as C4 does.

    Args:
        data, bounds, kinds: as of `split_words`.
        rules: (6,) bool: take citations out; lines must end a sentence; drop texts with "lorem
            ipsum"; drop lines with "javascript"; drop texts with "{"; drop lines of policies.
        min_words, longest_word: of a line and in characters; 0 for no rule.
        out: (m,) uint8, written: the lines that are kept, text after text, with "\\n" between them.
        kept: (n, 2) int64, written: the bounds of each text in `out`, without white space around
            it. A dropped text is empty.
        starts, stops: (m,) int64, written: the bounds of lines in `out`.
        lines: (n + 1,) int64, written: text i has the lines lines[i] to lines[i + 1].
        reasons: (n,) uint8, written: 0, 1 for "lorem ipsum", 2 for "{".
    """
    end, count = 0, 0
    for text in range(len(bounds) - 1):
        lines[text], reasons[text] = count, 0
        begin, at, stop = end, bounds[text], bounds[text + 1]
        while at < stop and not reasons[text]:
            line_end, after = _line(data, at, stop, kinds)
            first, last = stripped(data, at, line_end, kinds)
            at = after
            words, longest = _line_words(data, first, last, kinds)
            if longest_word and longest > longest_word:
                continue
            start = end + (end > begin)  # after the sign that will end the line before
            here = start
            while first < last:
                behind = _citation(data, first, last, kinds) if data[first] == 91 and rules[0] else 0
                if behind:
                    first = behind
                    continue
                out[here] = data[first]
                here, first = here + 1, first + 1
            if (rules[1] and not _ends_a_sentence(out, start, here)) or words < min_words:
                continue
            signs = _phrases(out, start, here)
            if signs & _LOREM and rules[2]:
                reasons[text] = 1
            elif signs & _JAVASCRIPT and rules[3]:
                continue
            elif signs & _CURLY and rules[4]:
                reasons[text] = 2
            elif signs & _POLICY and rules[5]:
                continue
            if start > begin:
                out[end] = 10
            starts[count], stops[count] = start, here
            count, end = count + 1, here
        if reasons[text]:
            count, end = lines[text], begin
        kept[text, 0], kept[text, 1] = stripped(out, begin, end, kinds)
    lines[len(bounds) - 1] = count


@inlined
def _begins_with_bullet(data, first, stop):  # type: ignore[no-untyped-def]
    if first == stop:
        return False
    bullet = data[first] == 0xE2 and first + 2 < stop and data[first + 1] == 0x80 and data[first + 2] == 0xA2
    return data[first] == 45 or bullet


@inlined
def _is_ellipsis(data, at):  # type: ignore[no-untyped-def]
    """Return whether three bytes are "..." or the sign for it."""
    one, two, three = data[at], data[at + 1], data[at + 2]
    return (one == 46 and two == 46 and three == 46) or (one == 0xE2 and two == 0x80 and three == 0xA6)


@compiled(void(BYTES, OFFSETS, KINDS, int64[:, ::1]))
def count_signs(data, bounds, kinds, counts):  # type: ignore[no-untyped-def]
    """Count what Gopher's quality rules ask for.

    Args:
        data, bounds, kinds: as of `split_words`.
        counts: (n, 5) int64, written: "#", ellipses, lines, lines that begin with a bullet, and
            those that end in an ellipsis.
    """
    for text in range(len(bounds) - 1):
        at, stop = bounds[text], bounds[text + 1]
        hashes, ellipses, lines, bullets, trailing = 0, 0, 0, 0, 0
        while at < stop:
            end, after = _line(data, at, stop, kinds)
            first, last = stripped(data, at, end, kinds)
            lines += 1
            bullets += _begins_with_bullet(data, first, last)
            trailing += last - first > 2 and _is_ellipsis(data, last - 3)
            while first < last:
                byte = data[first]
                hashes += byte == 35
                if (byte == 46 or byte == 0xE2) and first + 2 < last and _is_ellipsis(data, first):
                    ellipses += 1
                    first += 2
                first += 1
            at = after
        counts[text, 0], counts[text, 1], counts[text, 2] = hashes, ellipses, lines
        counts[text, 3], counts[text, 4] = bullets, trailing


@compiled(void(BYTES, OFFSETS, KINDS, int64, int64[:, ::1]))
def count_lines(data, bounds, kinds, short, counts):  # type: ignore[no-untyped-def]
    """Count what FineWeb's rules ask for, in lines that "\\n" ends and that are not blank.

    Args:
        data, bounds, kinds: as of `split_words`.
        short: characters of a short line, at most.
        counts: (n, 5) int64, written: lines, those that end in a terminal mark, short ones, all
            characters but "\\n", and the number of "\\n".
    """
    for text in range(len(bounds) - 1):
        at, stop = bounds[text], bounds[text + 1]
        lines, closed, brief, characters, breaks = 0, 0, 0, 0, 0
        while at < stop:
            size, blank, last = 0, True, 0
            while at < stop:
                last, after = character(data, at)
                if last == 10:
                    break
                blank &= kinds[last] & SPACE != 0
                size, at = size + 1, after
                point = last
            if not blank:
                lines += 1
                closed += kinds[point] & TERMINAL != 0
                brief += size <= short
            characters += size
            if at < stop:
                breaks, at = breaks + 1, at + 1
        counts[text, 0], counts[text, 1], counts[text, 2] = lines, closed, brief
        counts[text, 3], counts[text, 4] = characters, breaks
