"""Compiled functions that the loops of several files call.

numba keeps the machine code of a loop until the loop's own file changes, but a loop may hold
functions and constants of other files too. So the name under which it is kept says what these are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import int64, njit, types, uint8, uint32, uint64

from gpt_research.base import machine_code
from gpt_research.preprocessing.filters.characters import DIGIT, HOST, LETTER, LOWER, SPACE

BYTES, OFFSETS, KINDS, HASHES = (types.Array(kind, 1, "C", readonly=True) for kind in (uint8, int64, uint32, uint64))
"""The types of the UTF-8 of texts, of their bounds in it, of `characters.table`, and of hashes."""

_HERE = Path(__file__).parent
_NAMES = ("characters.py", "english.py", "../text/kernels.py")
_SHARED = [*(_HERE / name for name in _NAMES), *sorted(_HERE.glob("*kernel*.py"))]
_STAMP = hashlib.sha256(b"".join(path.read_bytes() for path in _SHARED)).hexdigest()[:12]
"""Of the sources that loops may share."""


def compiled(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a loop, or load what an earlier process compiled of the same sources."""

    def stamped(loop: Callable[..., Any]) -> Callable[..., Any]:
        loop.__qualname__ = f"{loop.__name__}_{_STAMP}"  # numba keeps the machine code under this name
        return machine_code.compiled(signature)(loop)

    return stamped


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only compiled loops call, without counting references to arrays.

    Such a function makes no array, and its caller holds those that it gets. To count each of them
    at each call would take four times as long as the work itself.
    """
    try:
        return njit(_nrt=False)(function)  # type: ignore[call-overload]
    except KeyError:  # numba's option is gone, and only speed with it
        return njit(function)


@inlined
def character(data, at):  # type: ignore[no-untyped-def]
    """Return the code point at a position of UTF-8, and the position after it."""
    one = int64(data[at])
    if one < 0x80:
        return one, at + 1
    if one < 0xE0:
        return (one & 31) << 6 | int64(data[at + 1]) & 63, at + 2
    if one < 0xF0:
        return (one & 15) << 12 | (int64(data[at + 1]) & 63) << 6 | int64(data[at + 2]) & 63, at + 3
    high = (one & 7) << 18 | (int64(data[at + 1]) & 63) << 12
    return high | (int64(data[at + 2]) & 63) << 6 | int64(data[at + 3]) & 63, at + 4


@inlined
def stripped(data, first, stop, kinds):  # type: ignore[no-untyped-def]
    """Return the ends of a text without the white space around it."""
    while first < stop:
        point, after = character(data, first)
        if not kinds[point] & SPACE:
            break
        first = after
    while stop > first:
        before = stop - 1
        while before > first and data[before] & 0xC0 == 0x80:
            before -= 1
        point, _ = character(data, before)
        if not kinds[point] & SPACE:
            break
        stop = before
    return first, stop


@inlined
def is_address(points, kinds, low, high):  # type: ignore[no-untyped-def]
    """Return whether the characters are an address of the web or of mail: host.name/path."""
    start, dots = low, False
    for at in range(low + 1, high - 1):
        dots |= points[at] == 46
    if not dots:
        return False
    for at in range(low, high - 2):
        point = points[at]
        if point == 58:  # after the name of a scheme stands "://"
            if at > low + 1 and points[at + 1] == 47 and points[at + 2] == 47:
                start = at + 3
            break
        if not (kinds[point] & (LETTER | DIGIT) or point == 95 or point == 43 or point == 45 or point == 46):
            break
    found = _is_host(points, kinds, start, high)
    for at in range(high - 2, start, -1):  # user@host
        found = found or (points[at] == 64 and _is_host(points, kinds, at + 1, high))
    return found


@inlined
def _is_host(points, kinds, start, high):  # type: ignore[no-untyped-def]
    """Return whether the characters are a host's name, with a port and a path perhaps."""
    label, at, dots, numbers = start, start, 0, True
    while at < high:
        point = points[at]
        if point == 46:
            if at == label or not kinds[points[at - 1]] & HOST or not kinds[points[label]] & HOST:
                return False
            label, dots = at + 1, dots + 1
        elif point == 58 or point == 47 or point == 63 or point == 35:  # : / ? #
            break
        elif not (kinds[point] & HOST or point == 45 or point == 95):
            return False
        else:
            numbers &= 48 <= point <= 57
        at += 1
    name = 2 <= at - label <= 63
    for letter in range(label, at):
        name &= kinds[points[letter]] & LOWER != 0
    if not dots or not (name or (numbers and dots == 3 and at > label)):
        return False
    if at < high and points[at] == 58:
        first = at + 1
        at = first
        while at < high and 48 <= points[at] <= 57:
            at += 1
        if not 2 <= at - first <= 5:
            return False
    return at == high or points[at] == 47 or points[at] == 63 or points[at] == 35
