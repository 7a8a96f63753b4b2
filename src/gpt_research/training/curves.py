"""Draws the curves of a run, or of several runs in one picture, from their metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_research.base.disk import dispensable
from gpt_research.base.files import written_whole
from gpt_research.training.metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING, VALIDATION = "#0072b2", "#000000"
COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#8c6d31", "#b2182b")
"""Of further lines; with the two above, eyes that cannot tell red from green tell them apart.
Source: Okabe and Ito 2008, "Color Universal Design", for the first five."""
SHORTEST_SMOOTHED, MOST_POINTS = 30, 2000
"""A curve is smoothed if it has so many points, and drawn with so many at most."""
DASHES = ("-", "--", ":", "-.")
"""If there are more lines than colours, the colours come again with the next of these."""


@dataclass(frozen=True)
class GroupCurves:
    """The runs that `draw_comparison` draws in one colour."""

    label: str
    runs: Sequence[Sequence[dict[str, Any]]]
    """For each run the lines of its metrics.jsonl, each with "x", its place on the axis."""
    axis: str
    """What x is: step or tokens."""


def draw_loss_curve(run: Path) -> Path | None:
    """Draw `loss.png` from `metrics.jsonl`: loss and bits per byte above, the learning rate below.

    Returns:
        The picture, or None if the run has no number yet.
    """
    lines = read_metrics(run)
    steps, losses = training_curve(lines, "step")
    val = [m for m in lines if m.get("val_loss") is not None]
    if not len(steps) and not val:
        return None
    figure, (axes, below) = new_figure(2, [4, 1])
    if len(steps):
        is_long = len(steps) >= SHORTEST_SMOOTHED
        axes.plot(steps, losses, color=TRAINING, alpha=0.25 if is_long else 1, linewidth=0.8, label="training")
        if is_long:
            axes.plot(*smoothed(steps, losses), color=TRAINING, linewidth=1.6, label="training, smoothed")
    if val:
        axes.plot(
            [m["step"] for m in val], [m["val_loss"] for m in val], "o-", ms=3, color=VALIDATION, label="validation"
        )
        averaged = [(m["step"], m["val_loss_ema"]) for m in val if m.get("val_loss_ema") is not None]
        if averaged:
            axes.plot(*zip(*averaged, strict=True), "--", color=VALIDATION, label="validation, averaged weights")
        names = sorted(val[-1].get("corpora", {}))
        for number, name in enumerate(names if len(names) > 1 else []):
            points = [(m["step"], m["corpora"][name]["loss"]) for m in val if name in m.get("corpora", {})]
            axes.plot(*zip(*points, strict=True), **style(number), linewidth=1.2, label=f"validation: {name}")
        _bits_axis(axes, val[-1])
    axes.set(ylabel="loss (nats a token)", title=run.resolve().name)
    axes.legend(fontsize="small")
    rates = [(m["step"], m["learning_rate"]) for m in lines if m.get("learning_rate") is not None]
    if rates:
        below.plot(*zip(*rates, strict=True), color="0.3", linewidth=1.2)
    below.set(xlabel="step", ylabel="learning rate")
    below.set_ylim(bottom=0)
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    path = run / "loss.png"
    with dispensable(path), written_whole(path) as part:
        figure.savefig(part, dpi=120, format="png")
    return path


def draw_comparison(path: Path, groups: Sequence[GroupCurves]) -> bool:
    """Draw the training losses of groups of runs, and below their validation losses.

    The line of a group is the mean over its runs; a band reaches from the least to the most.

    Returns:
        False, and no picture, if no run has a loss.
    """
    from matplotlib.ticker import EngFormatter

    figure, panels = new_figure(2, [1, 1])
    empty = True
    for number, group in enumerate(groups):
        training = [smoothed(*training_curve(lines, "x")) for lines in group.runs]
        validation = [
            curve([(m["x"], m["val_loss"]) for m in lines if m.get("val_loss") is not None]) for lines in group.runs
        ]
        for axes, curves, marker in ((panels[0], training, ""), (panels[1], validation, ".")):
            if not all(len(x) for x, _ in curves):
                continue
            empty = False
            # The runs are compared where each of them has been.
            first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
            places = curves[0][0][(curves[0][0] >= first) & (curves[0][0] <= last)]
            losses = np.array([np.interp(places, x, y) for x, y in curves])  # (runs, places)
            axes.plot(places, losses.mean(0), **style(number), marker=marker, linewidth=1.4, label=group.label)
            if len(curves) > 1:
                axes.fill_between(places, losses.min(0), losses.max(0), color=style(number)["color"], alpha=0.2, lw=0)
    if empty:
        return False
    panels[0].set(ylabel="training loss, smoothed")
    panels[1].set(ylabel="validation loss", xlabel=groups[0].axis)
    panels[1].xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in panels:
        if axes.get_lines():
            axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=120)
    return True


def training_curve(lines: Sequence[dict[str, Any]], axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Return places (n,) and training losses (n,) of the lines that have a finite loss.

    Args:
        axis: name of the entry that says where a line stands, such as "step".
    """
    # The mean over all steps since the line before it is less noisy than the loss of one step.
    points = [(m[axis], m["mean_loss"] if m.get("mean_loss") is not None else m.get("loss")) for m in lines]
    return curve([(place, loss) for place, loss in points if loss is not None])


def curve(points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (n,) and the values (n,) of points."""
    places, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return places, values


def smoothed(steps: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and losses of a smooth curve, at most `MOST_POINTS` of each.

    A point is the middle of a straight line through its neighbours on both sides, which weigh less
    the farther they are: a bell whose width is a 30th of the curve. So the curve neither lags
    behind the losses, as a mean over earlier ones does, nor leaves them at its ends. A short curve
    comes back as it is. Source: Cleveland 1979, "Robust Locally Weighted Regression".
    """
    # A long curve becomes means over groups first, because the work grows with the square.
    if not len(steps):
        return steps, losses
    groups = np.array_split(np.arange(len(steps)), min(len(steps), MOST_POINTS))
    steps, losses = (np.array([values[group].mean() for group in groups]) for values in (steps, losses))
    width = len(losses) / 30
    if width < 1:
        return steps, losses
    reach = min(round(3 * width), len(losses) - 1)
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (offsets / width) ** 2)

    def around(values: np.ndarray, power: int) -> np.ndarray:
        """Return, for each point, the sum over neighbours of weight * offset**power * value."""
        return np.convolve(values, (bell * offsets**power)[::-1])[reach : reach + len(values)]

    ones = np.ones(len(losses))
    s0, s1, s2 = (around(ones, power) for power in (0, 1, 2))
    t0, t1 = around(losses, 0), around(losses, 1)
    return steps, (s2 * t0 - s1 * t1) / (s0 * s2 - s1**2)


def new_figure(panels: int, heights: Sequence[float]) -> tuple[Figure, Any]:
    """Return a figure and its panels, one above the other, with a grid and the same steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a window system and without pyplot's global state
    all_axes = figure.subplots(panels, 1, sharex=True, height_ratios=heights)
    for axes in all_axes:
        axes.grid(alpha=0.3)
    return figure, all_axes


def style(number: int) -> dict[str, str]:
    """Return colour and dashes of the line with this number."""
    again, colour = divmod(number, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[again % len(DASHES)]}


def _bits_axis(axes: Axes, last: dict[str, Any]) -> None:
    """Show bits per byte on the right. In one text they are the loss times a constant."""
    loss, bits = last["val_loss"], last.get("val_bits_per_byte")
    if loss and bits:
        factor = bits / loss
        right = axes.secondary_yaxis("right", functions=(lambda y: y * factor, lambda y: y / factor))
        right.set_ylabel("bits per byte of validation text")
