"""Finds the best value of a setting for each arm, by the same procedure and with the same budget.

The search goes along a grid of factor 2 around the arm's own value: three values first, and then on
towards the better end, until the best one has a worse one on each side. Its seeds are not those of
the comparison, so a lucky seed does not count twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FACTOR = 2.0
MOST_VALUES = 7
"""Values that the search tries for an arm at most."""


@dataclass
class Bracket:
    """The search for one arm."""

    start: float
    scores: dict[float, float] = field(default_factory=dict)
    """Mean loss of each value that was tried, such as bits per byte; infinite if a run diverged."""

    def wanted(self) -> list[float]:
        """Return the values to try next; none when the search has ended."""
        if not self.scores:
            return [self.start / FACTOR, self.start, self.start * FACTOR]
        tried = sorted(self.scores)
        if self.is_bracketed or len(tried) >= MOST_VALUES:
            return []
        best = self.best
        if math.isinf(self.scores[best]):
            return [tried[0] / FACTOR]  # all diverged, so smaller steps may not
        return [best / FACTOR if best == tried[0] else best * FACTOR]

    @property
    def best(self) -> float:
        return min(self.scores, key=lambda value: (self.scores[value], value))

    @property
    def is_bracketed(self) -> bool:
        """True if a worse value was tried on each side of the best one."""
        tried = sorted(self.scores)
        return bool(tried) and tried[0] < self.best < tried[-1]
