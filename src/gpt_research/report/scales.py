"""Axes: the place of a number on a linear or logarithmic scale, round numbers for its ticks, and
numbers in few characters.

`page.js` has the same rules for ticks, because it draws them anew after a zoom; a test compares the
two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

UNITS = 1_000_000
"""The sides of a plot, in the whole numbers in which its paths are written."""
MARGIN = 0.04
"""Share of the range of the values that stays free above and below them."""
SHORTEST = 1e-12
"""A range is at least this share of its numbers, so that equal numbers have a range too."""


@dataclass(frozen=True)
class Scale:
    """From the least to the largest number of an axis, in equal steps or in equal factors."""

    low: float
    high: float
    is_log: bool = False

    @classmethod
    def around(cls, values: np.ndarray, *, is_log: bool = False, margin: float = MARGIN, zero: bool = False) -> Scale:
        """Return the scale that holds all finite values.

        Args:
            is_log: equal factors; needs a value above 0, and has no place for others.
            zero: the scale holds 0 too.
        """
        kept = values[np.isfinite(values) & ((values > 0) | (not is_log))]
        if not len(kept):
            return cls(0.0, 1.0)
        low, high = float(kept.min()), float(kept.max())
        if is_log:
            below, above = math.log10(low), math.log10(high)
            free = max((above - below) * margin, 0.02)
            return cls(10 ** (below - free), 10 ** (above + free), is_log=True)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        free = (high - low) * margin
        if high - low <= SHORTEST * max(abs(low), abs(high)):
            free = max(abs(high) * 0.05, 1e-9) if margin else 0.5
        return cls(low - free, high + free)

    def units(self, values: np.ndarray) -> np.ndarray:
        """Return the places of values, 0 for the lowest and `UNITS` for the highest; nan where
        there is none.
        """
        low, high = self._plain(np.array([self.low, self.high]))
        return (self._plain(values) - low) / (high - low) * UNITS

    def _plain(self, values: np.ndarray) -> np.ndarray:
        if not self.is_log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log10(values), np.nan)

    def ticks(self, most: int) -> list[float]:
        """Return round numbers on the axis, about `most` at most."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            decades = last - first + 1
            if decades > most:
                every = math.ceil(decades / most)
                return [10.0**power for power in range(first, last + 1, every)]
            if decades >= 2:
                factors: Sequence[int] = (1,) if decades > most / 2 else (1, 3)
                powers = range(first - 1, last + 1)
                found = [factor * 10.0**power for power in powers for factor in factors]
                return [value for value in found if self.low <= value <= self.high]
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / most))
        step *= next(factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """Return a tick's number with as many digits as tell it from the others."""
    size = max(abs(tick) for tick in ticks)
    gaps = [b - a for a, b in pairwise(ticks)]
    gap = min(gaps, default=size) or 1.0
    if value == 0:
        return "0"
    if ticks[-1] >= 10 * ticks[0] > 0 and (len(gaps) == 1 or gaps[-1] > 1.5 * gaps[0]):
        # The ticks stand in equal factors, so each number is written by itself.
        size = gap = abs(value)
    if size >= 10_000:
        unit, letter = next((u, s) for u, s in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")) if size >= u)
        return _fixed(value / unit, gap / unit) + letter
    if size < 0.001:
        power = math.floor(math.log10(size))
        return f"{_fixed(value / 10.0**power, gap / 10.0**power)}e{power}"
    return _fixed(value, min(gap, abs(value)))


def _fixed(value: float, gap: float) -> str:
    """Return a number with the decimals that a gap between neighbours needs."""
    decimals = next((d for d in range(7) if abs(gap * 10**d - round(gap * 10**d)) < 1e-6 * 10**d * gap), 6)
    return f"{value:.{decimals}f}"


def short(value: float | None, digits: int = 4) -> str:
    """Return a number in few characters: about `digits` digits, and a letter for large ones."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            return f"{_significant(value / (1e3 if letter == 'k' else unit), digits)}{letter}"
    if 0 < size < 1e-3:
        mantissa, _, power = f"{value:.{digits - 2}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(power)}"
    if value == int(value) and size < 1e4:
        return f"{int(value):,}"
    return f"{value:.{digits}f}" if size < 10 else _significant(value, digits + 1) if size < 1000 else f"{value:,.0f}"


def _significant(value: float, digits: int) -> str:
    """Return a number of at least 1 with this many digits, or with all those before its point."""
    before = len(str(int(abs(value))))
    return f"{value:.{max(0, digits - before)}f}"
