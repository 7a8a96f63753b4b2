"""The learning-rate range test: one run whose rate rises until the loss does.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.base.files import written_whole
from gpt_research.config import TrainConfig
from gpt_research.lab.arms import Arm
from gpt_research.training.metrics import read_metrics

SMOOTHING = 0.9
"""Weight of the losses before in the moving average."""
LEAST_RISE = 0.02
"""Rise of the smoothed loss after its lowest place, as a share of its fall, below which it has not
turned: the loss of single steps goes up and down as much."""
BELOW_THE_TURN = 1 / 3
"""The suggestion, as a share of the rate at which the loss turns; beyond it a long run fails."""


@dataclass(frozen=True)
class RangeTest:
    """What the test saw."""

    rates: Sequence[float]
    losses: Sequence[float]
    """Of each step, in nats a token."""
    smoothed: Sequence[float]
    turn: float | None
    """The rate at which the smoothed loss was lowest; None if it did not turn."""
    suggestion: float | None
    why: str = ""
    """Why there is no turn, and what shows one."""


def rising(base: TrainConfig, low: float, high: float, steps: int) -> Arm:
    """Return the recipe of the test: the base with a rate that rises from `low` to `high`."""
    config = replace(
        base,
        schedule="rising",
        learning_rate=high,
        min_lr_ratio=low / high,
        warmup_steps=0,
        max_steps=steps,
        log_interval=1,
        eval_interval=0,
        keep_best=False,
        early_stopping=0,
        save_interval=0,
    )
    return Arm("rising", config, {"schedule": "rising"})


def read_range_test(run: Path, steps: int) -> RangeTest:
    """Return what a run with a rising rate shows.

    Args:
        steps: those that it was to take; it takes fewer if its loss is not finite any more.

    Raises:
        UserError: it is too short.
    """
    lines = [line for line in read_metrics(run) if line.get("loss") is not None and "learning_rate" in line]
    if len(lines) < 10:
        raise UserError(f"{run} took {len(lines)} steps with finite losses, too few to see a turn. Lower --low.")
    rates, losses = [line["learning_rate"] for line in lines], [line["loss"] for line in lines]
    smoothed = _smooth(losses)
    index = int(np.argmin(smoothed))
    rise, fall = smoothed[-1] - smoothed[index], smoothed[0] - smoothed[index]
    why = ""
    if fall == 0:
        why = f"The loss never fell below that of the first learning rate ({rates[0]:.2g}). Lower --low."
    elif rise <= LEAST_RISE * fall and lines[-1]["step"] >= steps:
        why = f"The loss still fell, or had not risen yet, at the last learning rate ({rates[-1]:.2g}). Raise --high."
    if why:
        return RangeTest(rates, losses, smoothed, None, None, why)
    return RangeTest(rates, losses, smoothed, rates[index], float(f"{rates[index] * BELOW_THE_TURN:.2g}"))


def _smooth(losses: Sequence[float]) -> list[float]:
    average, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        found.append(average / (1 - SMOOTHING**count))
    return found


def draw(test: RangeTest, path: Path) -> None:
    """Draw the losses over the rates into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a window system
    panel = figure.subplots()
    panel.semilogx(test.rates, test.losses, color="0.75", linewidth=0.8, label="each step")
    panel.semilogx(test.rates, test.smoothed, label="moving average")
    if test.suggestion is not None:
        panel.axvline(test.suggestion, color="C2", linestyle="--", label=f"suggestion: {test.suggestion:g}")
    panel.set_ylim(min(test.smoothed) - 0.5, test.losses[0] + 1)
    panel.set_xlabel("learning rate")
    panel.set_ylabel("loss (nats a token)")
    panel.grid(alpha=0.3)
    panel.legend()
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=120)
