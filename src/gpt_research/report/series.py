"""Numbers of runs along an axis: thinned so that extremes stay, and put together over seeds.

A series is a pair of arrays (n,): places, which rise, and values, which are nan where a run logged
no finite number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gpt_research.evaluation.statistics import student_quantile

Series = tuple[np.ndarray, np.ndarray]
VALIDATED = ("val_loss", "val_bits_per_byte", "corpora")
AVERAGED = "_ema"
"""Entries of the log that come from an evaluation, and what the names of those that belong to the
averaged weights end with."""
SHORT = 0.8
"""A run that ended before this share of what the others of its setting took is drawn alone."""


@dataclass(frozen=True)
class RunLines:
    """One run, as far as curves need it."""

    name: str
    seed: int | None
    lines: Sequence[Mapping[str, Any]]
    """The lines of its metrics.jsonl."""
    tokens_per_step: int = 1

    def series(self, name: str, axis: str = "step") -> Series:
        """Return a number of the log along an axis.

        Args:
            name: an entry of the lines; slashes lead into entries of entries.
            axis: step, tokens, or an entry of the lines such as elapsed_s.
        """
        found: dict[float, float] = {}
        path, last = name.split("/"), math.nan
        if self.is_averaged and path[0] in VALIDATED:
            path[0] += AVERAGED
        by_step = {"step": 1, "tokens": self.tokens_per_step}.get(axis)
        for line in self.lines:
            if by_step is None and axis in line:
                # An evaluation's line has no time of its own; it comes right after its step's.
                last = _number(line[axis])
            if path[0] not in line:
                continue
            place: float = last if by_step is None else line["step"] * by_step
            value: Any = line
            for key in path:
                value = value.get(key, ...) if isinstance(value, Mapping) else ...
            if value is not ... and math.isfinite(place):
                found[place] = _number(value)  # a step that was taken again counts once
        places = np.array(sorted(found), dtype=np.float64)
        return places, np.array([found[place] for place in places], dtype=np.float64)

    def training_loss(self, axis: str = "step") -> Series:
        """Return the mean loss since the line before; the loss of the step where there is none."""
        places, mean = self.series("mean_loss", axis)
        all_places, loss = self.series("loss", axis)
        if not len(mean):
            return all_places, loss
        known = dict(zip(places.tolist(), mean.tolist(), strict=True))
        best = [known.get(p, math.nan) for p in all_places.tolist()]
        return all_places, np.array([b if math.isfinite(b) else v for b, v in zip(best, loss.tolist(), strict=True)])

    @cached_property
    def is_averaged(self) -> bool:
        """The run keeps an average of its weights, and is judged by it."""
        return any(f"val_loss{AVERAGED}" in line for line in self.lines)

    @cached_property
    def diverged_at(self) -> int | None:
        """The step of the first of the last losses that are all not finite; None if the last is."""
        places, loss = self.series("loss")
        if not len(loss) or np.isfinite(loss[-1]):
            return None
        finite = np.flatnonzero(np.isfinite(loss))
        return int(places[finite[-1] + 1 if len(finite) else 0])

    @cached_property
    def last_step(self) -> int:
        return max((line["step"] for line in self.lines), default=0)

    @property
    def ending(self) -> str:
        """How the run ended, in words."""
        at = self.diverged_at
        return f"ended at step {self.last_step:,}" if at is None else f"diverged at step {at:,}"


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but the seed."""

    letter: str
    title: str
    runs: Sequence[RunLines]

    @property
    def label(self) -> str:
        return f"{self.letter}: {self.title}" if self.title else self.letter

    @cached_property
    def together(self) -> tuple[list[RunLines], list[RunLines]]:
        """The runs that are drawn as one line, and those that are drawn alone: they diverged, or
        ended long before the others.
        """
        sound = [run for run in self.runs if run.diverged_at is None and run.lines]
        longest = max((run.last_step for run in sound), default=0)
        joined = [run for run in sound if run.last_step >= SHORT * longest]
        return joined, [run for run in self.runs if run.lines and run not in joined]


@dataclass(frozen=True)
class Band:
    """Runs of one setting as one line: the mean, and the least and the largest beside it."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _number(value: Any) -> float:
    is_number = type(value) in (float, int)
    return float(value) if is_number and math.isfinite(value) else math.nan


def thinned(x: np.ndarray, y: np.ndarray, most: int) -> Series:
    """Return at most about `most` points of a series. The ends, the lowest and the highest point of
    each stretch, and a gap where values are missing, stay.
    """
    if len(x) <= most:
        return x, y
    keep = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), max(1, (most - 2) // 3)):
        finite = part[np.isfinite(y[part])]
        if len(finite):
            keep |= {int(finite[y[finite].argmin()]), int(finite[y[finite].argmax()])}
        if len(finite) < len(part):
            keep.add(int(part[~np.isfinite(y[part])][0]))
    order = sorted(keep)
    return x[order], y[order]


def band(runs: Sequence[Series], most: int) -> Band | None:
    """Return the mean, the least and the largest value over runs, where each of them has been.

    A long stretch becomes one place: then the band reaches from the least to the largest value that
    any run had in it. None if the runs have no place in common.
    """
    runs = [(x[np.isfinite(y)], y[np.isfinite(y)]) for x, y in runs]
    if not runs or not all(len(x) for x, _ in runs):
        return None
    first, last = max(x[0] for x, _ in runs), min(x[-1] for x, _ in runs)
    places = runs[0][0][(runs[0][0] >= first) & (runs[0][0] <= last)]
    if not len(places):
        return None
    values = np.array([np.interp(places, x, y) for x, y in runs])  # (runs, places)
    parts = np.array_split(np.arange(len(places)), min(len(places), most))
    ends = [part[-1] for part in parts]
    return Band(
        places[ends],
        np.array([values[:, part].mean() for part in parts]),
        np.array([values[:, part].min() for part in parts]),
        np.array([values[:, part].max() for part in parts]),
    )


def pairs(base: Sequence[RunLines], other: Sequence[RunLines]) -> list[tuple[RunLines, RunLines]]:
    """Return the runs of two settings that have the same seed, in the order of the seeds."""
    by_seed = {run.seed: run for run in base if run.seed is not None}
    return [(by_seed[run.seed], run) for run in sorted(other, key=lambda r: r.seed or 0) if run.seed in by_seed]


def paired_difference(found: Sequence[tuple[Series, Series]], confidence: float) -> Band | None:
    """Return the mean difference, second minus first, at the places that all pairs share, with the
    interval of Student's t at each of them; with one pair the interval is nan.
    """
    if not found:
        return None
    places = sorted(set.intersection(*(set(s[0].tolist()) for pair in found for s in pair)))
    if not places:
        return None
    differences = np.array([_at(b, places) - _at(a, places) for a, b in found])  # (pairs, places)
    mean, half = differences.mean(0), np.full(len(places), math.nan)
    if len(found) > 1:
        quantile = student_quantile(0.5 + confidence / 2, len(found) - 1)
        half = quantile * differences.std(0, ddof=1) / math.sqrt(len(found))
    return Band(np.array(places), mean, mean - half, mean + half)


def _at(series: Series, places: Iterable[float]) -> np.ndarray:
    known = dict(zip(series[0].tolist(), series[1].tolist(), strict=True))
    return np.array([known[place] for place in places])
