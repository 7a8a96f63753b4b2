"""How many tokens, and how much time, an arm needs to reach the loss of the base.

A point on the curve of a run whose learning rate has not fallen yet says nothing about a run that
ends there. So runs of several lengths are compared, each with its whole schedule, and between their
final losses one interpolates linearly in the logarithm of the tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpt_research.lab.sequential import interval

if TYPE_CHECKING:
    from gpt_research.lab.outcome import Outcome


@dataclass(frozen=True)
class Ratio:
    """Tokens or time of the base over those of the arm, at equal loss; above 1 the arm needs
    less.
    """

    mean: float
    low: float | None
    """Ends of the 95% interval; None while there are too few pairs for one."""
    high: float | None
    beyond: Literal["more", "less"] | None
    """In some pairs the runs were not short (or long) enough to see it: the ratio is more (or less)
    than the numbers say."""

    def in_words(self) -> str:
        if self.low is not None and self.low == self.high:
            return f"{'more' if self.beyond == 'more' else 'less'} than {self.mean:.2f}"
        bound = {"more": "at least ", "less": "at most ", None: ""}[self.beyond]
        ends = "no interval yet" if self.low is None else f"95%: {self.low:.2f} to {self.high:.2f}"
        return f"{bound}{self.mean:.2f} ({ends})"


@dataclass(frozen=True)
class Crossing:
    """Where one pair has equal loss."""

    ratio: float
    beyond: Literal["more", "less"] | None


def ratios(
    base: Mapping[int, Mapping[float, Outcome]], arm: Mapping[int, Mapping[float, Outcome]], most_pairs: int
) -> tuple[Ratio | None, Ratio | None]:
    """Return the ratio of tokens and that of time; None if no pair has all its runs.

    Args:
        base: the base's runs by seed and length, as shares of the longest.
        arm: the arm's.
    """
    tokens: list[Crossing] = []
    times: list[float] = []
    for seed in sorted(set(base) & set(arm)):
        ours, theirs = _finals(arm[seed]), _finals(base[seed])
        if len(ours) < 2 or len(ours) != len(theirs) or ours[-1][0] != theirs[-1][0]:
            continue
        crossing = _crossing(theirs, ours)
        tokens.append(crossing)
        speeds = [run[max(run)].tokens_per_s for run in (arm[seed], base[seed])]
        if speeds[0] and speeds[1]:
            times.append(crossing.ratio * speeds[0] / speeds[1])
    return _mean([crossing.ratio for crossing in tokens], tokens, most_pairs), _mean(times, tokens, most_pairs)


def _finals(runs: Mapping[float, Outcome]) -> list[tuple[float, float]]:
    """Return length and final loss of the runs that ended well, the shortest first."""
    return [(length, run.loss) for length, run in sorted(runs.items()) if run.state == "done" and run.loss is not None]


def _crossing(base: Sequence[tuple[float, float]], arm: Sequence[tuple[float, float]]) -> Crossing:
    longest, shortest = base[-1][0], base[0][0]
    if arm[-1][1] <= base[-1][1]:  # the arm gets there: with how many tokens?
        length = _length_at(arm, base[-1][1])
        return Crossing(longest / length, "more") if length == shortest else Crossing(longest / length, None)
    length = _length_at(base, arm[-1][1])
    return Crossing(length / longest, "less") if length == shortest else Crossing(length / longest, None)


def _length_at(curve: Sequence[tuple[float, float]], loss: float) -> float:
    """Return the shortest length at which the curve is at a loss; the first one if it is below."""
    if curve[0][1] <= loss:
        return curve[0][0]
    for (left, above), (right, below) in itertools.pairwise(curve):
        if below <= loss <= above and above > below:
            share = (above - loss) / (above - below)
            return math.exp(math.log(left) + share * (math.log(right) - math.log(left)))
    return curve[-1][0]


def _mean(values: Sequence[float], crossings: Sequence[Crossing], most_pairs: int) -> Ratio | None:
    if not values or len(values) != len(crossings):
        return None
    found = interval([math.log(value) for value in values], most_pairs)
    beyond: Literal["more", "less"] | None = next((crossing.beyond for crossing in crossings if crossing.beyond), None)
    mean = math.exp(found.mean)
    if not math.isfinite(found.half_width):
        return Ratio(mean, None, None, beyond)
    # The logarithm of the largest number: a wide interval of few pairs may reach beyond it.
    return Ratio(mean, math.exp(found.low), math.exp(min(found.high, 709.0)), beyond)
