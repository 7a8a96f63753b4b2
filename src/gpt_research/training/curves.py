"""Draws the curves of a run, or of several runs in one picture, from their metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def draw_loss_curve(run: Path) -> Path | None:
    """Draw `loss.png` from `metrics.jsonl`: loss and bits per byte above, the learning rate below.

    Returns:
        The picture, or None if the run has no number yet.
    """
    lines = read_metrics(run)
    steps, losses = training_curve(lines)
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
    figure.savefig(path, dpi=120)
    return path


def training_curve(lines: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps (n,) and the training losses (n,) of the lines that have a finite one."""
    # The mean over all steps since the line before it is less noisy than the loss of one step.
    points = [(m["step"], m["mean_loss"] if m.get("mean_loss") is not None else m.get("loss")) for m in lines]
    kept = [(step, loss) for step, loss in points if loss is not None]
    steps, losses = np.array(kept, dtype=np.float64).reshape(-1, 2).T
    return steps, losses


def smoothed(steps: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and losses of a smooth curve, at most `MOST_POINTS` of each.

    A point is the middle of a straight line through its neighbours on both sides, which weigh less
    the farther they are: a bell whose width is a 30th of the curve. So the curve neither lags
    behind the losses, as a mean over earlier ones does, nor leaves them at its ends. A short curve
    comes back as it is. Source: Cleveland 1979, "Robust Locally Weighted Regression".
    """
    # A long curve becomes means over groups first, because the work grows with the square.
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
