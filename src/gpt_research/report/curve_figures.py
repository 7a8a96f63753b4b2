"""The curves of settings: losses, learning rate, gradient, speed, corpora, differences by pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gpt_research.report.charts import COLOURS, Chart, Line
from gpt_research.report.series import RunLines, Series, Setting, band, paired_difference, pairs
from gpt_research.training.curves import SHORTEST_SMOOTHED, smoothed

MOST_FAINT = 4
"""Up to so many runs, the losses of single steps are drawn behind the smooth curve."""
POINTS_OF_PAGE, MOST_POINTS, FEWEST_POINTS = 60_000, 1200, 60
"""Points that all curves of a page may have together, so that its file stays small, and those of
one line."""
WIDE = 30.0
"""An axis whose largest value is this many times a usual one is logarithmic."""
BAND = "Lines are means over the seeds of a setting, bands reach from the least to the largest."
Read = Callable[[RunLines], Series]


@dataclass(frozen=True)
class Curves:
    """What all figures of a page share."""

    settings: Sequence[Setting]
    axis: str
    """step, or tokens if the settings have steps of different sizes."""
    confidence: float

    @classmethod
    def of(cls, settings: Sequence[Setting], confidence: float) -> Curves:
        sizes = {run.tokens_per_step for setting in settings for run in setting.runs if run.lines}
        return cls(settings, "tokens" if len(sizes) > 1 else "step", confidence)

    @property
    def runs(self) -> list[RunLines]:
        return [run for setting in self.settings for run in setting.runs]

    @cached_property
    def corpora(self) -> list[str]:
        """The corpora of the validation text, if there are several."""
        names = {
            name for run in self.runs for line in run.lines if isinstance(line.get("corpora"), dict)
            for name in line["corpora"]
        }  # fmt: skip
        return sorted(names) if len(names) > 1 else []

    @cached_property
    def most_points(self) -> int:
        """Points that a line may have."""
        lines = (7 + len(self.corpora)) * (2 * len(self.settings) + sum(len(s.together[1]) for s in self.settings))
        return max(FEWEST_POINTS, min(MOST_POINTS, POINTS_OF_PAGE // max(1, lines)))


def curve_charts(curves: Curves) -> list[Chart]:
    """Return the charts of the runs, without those of corpora."""
    return [
        validation(curves),
        training(curves),
        *difference(curves),
        validation_by_time(curves),
        _plain(curves, "Learning rate", "learning rate", "learning_rate"),
        _plain(curves, "Gradient norm", "norm before clipping", "grad_norm"),
        _plain(curves, "Speed", "tokens a second", "tokens_per_s"),
    ]


def corpus_charts(curves: Curves) -> list[Chart]:
    """Return a chart for each corpus; for one setting all corpora in one chart."""

    def lines(name: str) -> list[Line]:
        return _lines(curves, lambda run: run.series(f"corpora/{name}/bits_per_byte", curves.axis), "", dots=True)

    names = curves.corpora
    if len(curves.settings) > 1 or not names:
        return [Chart(f"Bits per byte of {name}", curves.axis, "bits per byte", lines(name)) for name in names]
    together = [
        replace(line, label=", ".join(filter(None, (name, line.label))), colour=number % COLOURS)
        for number, name in enumerate(names)
        for line in lines(name)
    ]
    return [Chart("Bits per byte of each corpus", curves.axis, "bits per byte", together, _band_note(curves))]


def validation(curves: Curves) -> Chart:
    name, label = _validation_name(curves)
    lines = _lines(curves, lambda run: run.series(name, curves.axis), "validation", dots=True)
    return Chart("Validation", curves.axis, label, lines, _band_note(curves))


def _validation_name(curves: Curves) -> tuple[str, str]:
    """Return the entry of the log that validation is shown by, and its name."""
    has_bits = any(line.get("val_bits_per_byte") is not None for run in curves.runs for line in run.lines)
    return ("val_bits_per_byte", "bits per byte") if has_bits else ("val_loss", "loss (nats a token)")


def validation_by_time(curves: Curves) -> Chart:
    """Return the validation curve over the hours of training."""
    name, label = _validation_name(curves)
    read = {id(run): run.series(name, "elapsed_s") for run in curves.runs}
    longest = max((x[-1] for x, _ in read.values() if len(x)), default=0.0)
    unit, size = next(
        (u, s) for u, s in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0)) if longest >= 3 * s or s == 1
    )
    lines = _lines(curves, lambda run: (read[id(run)][0] / size, read[id(run)][1]), "validation", dots=True)
    return Chart("Validation by time", unit, label, lines, "Time of training, evaluations included.")


def training(curves: Curves) -> Chart:
    """Return the training losses, smoothed, with those of single steps behind them if they are
    few.
    """
    lines: list[Line] = []
    is_long = any(len(run.training_loss()[0]) >= SHORTEST_SMOOTHED for run in curves.runs)
    if is_long and len(curves.runs) <= MOST_FAINT:
        for number, setting in enumerate(curves.settings):
            for run in setting.together[0]:
                name = f"{setting.letter}{_seed(run) if len(setting.runs) > 1 else ''}, each logged step"
                label = name if len(curves.settings) > 1 else name.partition(", ")[2]
                lines.append(Line(label, run.training_loss(curves.axis), number % COLOURS, faint=True))
    lines += _lines(curves, lambda run: _smooth(run.training_loss(curves.axis)), "training" + ", smoothed" * is_long)
    note = "Smoothed by straight lines through neighbours; zoom in to see single steps. " if is_long else ""
    return Chart("Training loss", curves.axis, "loss (nats a token)", lines, note + _band_note(curves))


def _smooth(series: Series) -> Series:
    finite = np.isfinite(series[1])
    return smoothed(series[0][finite], series[1][finite])


def _plain(curves: Curves, title: str, label: str, name: str) -> Chart:
    lines = _lines(curves, lambda run: run.series(name, curves.axis), label)
    values = np.concatenate([line.series[1] for line in lines] or [np.zeros(0)])
    values = values[np.isfinite(values) & (values > 0)]
    log = name == "grad_norm" and len(values) > 0 and bool(values.max() > WIDE * np.median(values))
    return Chart(title, curves.axis, label, lines, _band_note(curves), log_y=log)


def _band_note(curves: Curves) -> str:
    return BAND if any(len(setting.together[0]) > 1 for setting in curves.settings) else ""


def _lines(curves: Curves, read: Read, alone: str, *, dots: bool = False) -> list[Line]:
    """Return a line for each setting, and one for each run that is drawn alone.

    Args:
        alone: name of the line if there is one setting only.
    """
    found = []
    for number, setting in enumerate(curves.settings):
        runs, apart = setting.together
        label = setting.label if len(curves.settings) > 1 else alone
        if len(runs) == 1:
            found.append(_line(label, read(runs[0]), number, dots=dots))
        elif (whole := band([read(run) for run in runs], curves.most_points)) is not None:
            found.append(Line.of(label, whole, number, dots=dots))
        for run in apart:
            is_alone = len(curves.settings) == len(setting.runs) == 1
            name = run.ending if is_alone else f"{setting.letter}{_seed(run)}: {run.ending}"
            found.append(replace(_line(name, read(run), number, dots=dots), dash=1))
    return found


def _line(label: str, series: Series, number: int, *, dots: bool) -> Line:
    return Line(label, series, number % COLOURS, dots=dots, dash=number // COLOURS)


def _seed(run: RunLines) -> str:
    return f", seed {run.seed}" if run.seed is not None else ""


def difference(curves: Curves) -> list[Chart]:
    """Return the chart of the differences of each setting to the first, pair by pair; none if there
    is only one setting.
    """
    if len(curves.settings) < 2:
        return []
    name, label = _validation_name(curves)
    base, lines, unpaired = curves.settings[0], [], []
    for number, setting in enumerate(curves.settings[1:], start=1):
        matched = pairs(base.together[0], setting.together[0])
        read = [tuple(run.series(name, curves.axis) for run in pair) for pair in matched]
        found = paired_difference([(a, b) for a, b in read], curves.confidence)
        if found is None:
            unpaired.append(setting.letter)
        else:
            lines.append(Line.of(f"{setting.letter} − {base.letter}: {_count(len(matched))}", found, number, dots=True))
    left = f" {', '.join(unpaired)}: no run has a seed of {base.letter}'s." if unpaired and lines else ""
    interval = f"{100 * curves.confidence:g}% intervals"
    note = (
        f"Each run minus the run of {base.letter} with the same seed; below 0 is better than {base.letter}. Bands are "
        f"{interval} of the mean at each place by itself (Student's t over pairs); one pair has none.{left}"
    )
    return [Chart("Paired differences", curves.axis, f"{label}: difference to {base.letter}", lines, note, zero=True)]


def _count(number: int) -> str:
    return f"{number} pair" + "s" * (number != 1)


def final_value(run: RunLines, name: str) -> float | None:
    """Return the last number of a run; None if it has none or the last one is not finite."""
    value = run.series(name)[1]
    return float(value[-1]) if len(value) and math.isfinite(value[-1]) else None
