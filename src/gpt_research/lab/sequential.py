"""Confidence intervals of a mean difference that hold although one looks after each pair.

An ordinary 95% interval that is looked at after each of eight pairs misses the truth at one of the
looks in about 15% of experiments. Here the interval after n pairs is wider by a factor that is
chosen so that all intervals together miss it in 5%. One may therefore stop at any look.

The factors are group-sequential boundaries for Student's t, found by simulation. The error that may
be spent until look n rises with (n / N)^POWER, so late looks pay little for early ones.
Source: Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials"; Jennison and
Turnbull 1989, "Interim analyses: the repeated confidence interval approach".
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_PAIRS = 3
"""Pairs before the first look: the spread of two says next to nothing."""
ERROR = 0.05
"""Share of experiments in which some look may miss the truth."""
POWER = 1.5
PATHS = 400_000
"""Simulated experiments; the boundaries then hold the error to about 0.0005."""


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95% interval, after some pairs."""

    pairs: int
    mean: float
    half_width: float
    """Infinite before the first look."""

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def decided(self) -> bool:
        """True if the interval does not hold 0."""
        return self.low > 0 or self.high < 0


def interval(differences: Sequence[float], most_pairs: int, error: float = ERROR) -> Interval:
    """Return the interval after these pairs, of an experiment of at most `most_pairs`."""
    n, mean = len(differences), statistics.fmean(differences)
    if n < min(LEAST_PAIRS, most_pairs) or n < 2:
        return Interval(n, mean, math.inf)
    standard_error = statistics.stdev(differences) / math.sqrt(n)
    return Interval(n, mean, boundaries(most_pairs, error)[n] * standard_error)


def smallest_visible(differences: Sequence[float], most_pairs: int) -> float:
    """Return the effect that the whole experiment would see in half of all cases, at this noise."""
    return boundaries(most_pairs)[most_pairs] * statistics.stdev(differences) / math.sqrt(most_pairs)


@functools.cache
def boundaries(most_pairs: int, error: float = ERROR) -> dict[int, float]:
    """Return, for each look, how many standard errors the interval reaches to each side.

    Args:
        error: share of experiments in which some look may miss the truth.
    """
    first = min(LEAST_PAIRS, most_pairs)
    generator = np.random.default_rng(0)
    draws = generator.standard_normal((PATHS, first))
    sums, squares = draws.sum(1), (draws**2).sum(1)
    alive = np.ones(PATHS, dtype=bool)
    factors, spent = {}, 0.0
    for n in range(first, most_pairs + 1):
        if n > first:
            draw = generator.standard_normal(PATHS)
            sums += draw
            squares += draw**2
        variances = (squares - sums**2 / n) / (n - 1)
        t = np.abs(sums) / np.sqrt(n * variances)
        allowed = error * (n / most_pairs) ** POWER
        # This look may stop that number of the paths that no earlier look has stopped.
        count = max(1, round((allowed - spent) * PATHS))
        factors[n] = float(np.partition(t[alive], -count)[-count])
        alive &= t <= factors[n]
        spent = allowed
    return factors
