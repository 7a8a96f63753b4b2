"""A sweep: runs over values of one or more settings, and where the best lies."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.evaluation.statistics import student_quantile
from gpt_research.lab.arms import Arm, changed, check_may_differ, read_value
from gpt_research.lab.outcome import Outcome
from gpt_research.lab.trials import Trial

if TYPE_CHECKING:
    from gpt_research.lab.workers import Workers


@dataclass(frozen=True)
class Axis:
    """A setting of a sweep, and its values."""

    setting: str
    values: Sequence[Any]
    low: float | None = None
    """Ends of a range, of which `values` are points; None for a list."""
    high: float | None = None

    @property
    def is_logarithmic(self) -> bool:
        """True if the values are numbers above 0, which are then compared by their ratios."""
        return all(_is_number(value) and value > 0 for value in self.values)


@dataclass(frozen=True)
class Optimum:
    """Where a setting is best, the others at the best of what was tried."""

    value: float
    low: float | None
    """Ends of the 95% interval over seeds; None with one seed, or at the end of what was tried."""
    high: float | None
    at_end: bool
    """The best value is the first or the last, so a better one may lie beyond it."""


@dataclass
class Point:
    """Values of all settings of a sweep, and the runs with them."""

    settings: dict[str, Any]
    runs: list[Outcome]

    @property
    def bits_per_byte(self) -> float:
        """The mean over seeds; infinite if a run diverged."""
        return statistics.fmean(math.inf if run.bits_per_byte is None else run.bits_per_byte for run in self.runs)


def parse_axis(text: str, points: int) -> Axis:
    """Return the setting and values of `NAME=A..B` (points of equal ratio) or `NAME=A,B,C`.

    Raises:
        UserError: it is neither, or runs that are compared may not differ in the setting.
    """
    name, equals, values = text.partition("=")
    name = name.strip()
    if not equals or not name or not values.strip():
        raise UserError(f"over is {text!r}, but it must be SETTING=LOW..HIGH, or SETTING=VALUE,VALUE,...")
    check_may_differ(name, f"--over {text}")
    if ".." in values:
        try:
            low, high = (float(end) for end in values.split(".."))
        except ValueError:
            low = high = math.nan
        if not 0 < low < high < math.inf:
            raise UserError(f"over is {text!r}, but the ends of a range must be numbers above 0, the lower first.")
        # Rounded to three digits, because that is what one would write into a settings file.
        grid = [float(f"{value:.3g}") for value in np.geomspace(low, high, points)]
        return Axis(name, grid, low, high)
    listed = [read_value(part.strip()) for part in values.split(",")]
    if len({repr(value) for value in listed}) < max(2, len(listed)):
        raise UserError(f"over is {text!r}, but it must give two values or more, each once.")
    return Axis(name, listed)


def grid(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return all combinations of the values."""
    return [
        dict(zip([axis.setting for axis in axes], values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def point_arm(base: TrainConfig, settings: Mapping[str, Any]) -> Arm:
    """Return the recipe of a point.

    Raises:
        UserError: there is no such setting, or a value breaks a rule.
    """
    name = ",".join(f"{setting}={value:g}" if _is_number(value) else f"{setting}={value}"
                    for setting, value in settings.items())  # fmt: skip
    return Arm(name, changed(base, settings, f"--over {name}"), settings)


def run_sweep(
    base: TrainConfig,
    points: Sequence[Mapping[str, Any]],
    seeds: int,
    folder: Path,
    workers: Workers,
    tell: Callable[[str], None],
) -> list[Point]:
    """Train each point with each seed; return all points with their runs."""
    arms = [point_arm(base, settings) for settings in points]
    # All points come before the second seed, so that a sweep that is stopped has seen all of them.
    trials = [Trial(arm, base.seed + seed, 1.0, folder) for seed in range(seeds) for arm in arms]
    found: dict[str, list[Outcome]] = {arm.name: [] for arm in arms}
    for trial, outcome in workers.all_of(trials):
        found[trial.arm.name].append(outcome)
        what = outcome.why if outcome.bits_per_byte is None else f"{outcome.bits_per_byte:.4f} bits per byte"
        tell(f"{trial.name}: {what}")
    return [
        Point(dict(arm.changes), sorted(found[arm.name], key=lambda run: run.seed)) for arm in arms if found[arm.name]
    ]


def optima(axes: Sequence[Axis], points: Sequence[Point]) -> dict[str, Optimum]:
    """Return the best value of each setting whose values are numbers.

    A parabola goes through the best point and its two neighbours, for each seed; over seeds, the
    places of its lowest points give an interval.
    """
    best = min(points, key=lambda point: point.bits_per_byte)
    found = {}
    for axis in axes:
        if len(axis.values) < 3 or not all(_is_number(value) for value in axis.values):
            continue
        others = {name: value for name, value in best.settings.items() if name != axis.setting}
        line = sorted(
            (point for point in points if others.items() <= point.settings.items()),
            key=lambda point: float(point.settings[axis.setting]),
        )
        index = line.index(best)
        if not 0 < index < len(line) - 1:
            found[axis.setting] = Optimum(float(best.settings[axis.setting]), None, None, at_end=True)
            continue
        found[axis.setting] = _lowest(axis, line[index - 1 : index + 2])
    return found


def _lowest(axis: Axis, three: Sequence[Point]) -> Optimum:
    """Return the lowest place of the parabolas through three points, one for each seed."""
    values = [float(point.settings[axis.setting]) for point in three]
    x = [math.log(value) for value in values] if axis.is_logarithmic else values
    places = []
    for runs in zip(*(point.runs for point in three), strict=False):
        bits = [run.bits_per_byte for run in runs]
        if any(b is None for b in bits):
            continue
        curvature, slope, _ = np.polyfit(x, np.array(bits, dtype=np.float64), 2)
        # With a noisy seed the parabola may have no lowest point near; the ends then stand for it.
        lowest = -slope / (2 * curvature) if curvature > 0 else x[int(np.argmin(np.array(bits, dtype=np.float64)))]
        places.append(min(max(lowest, x[0]), x[2]))
    back = math.exp if axis.is_logarithmic else float
    if not places:
        return Optimum(values[1], None, None, at_end=False)
    mean = statistics.fmean(places)
    if len(places) < 2:
        return Optimum(back(mean), None, None, at_end=False)
    half = student_quantile(0.975, len(places) - 1) * statistics.stdev(places) / math.sqrt(len(places))
    return Optimum(back(mean), back(mean - half), back(mean + half), at_end=False)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
