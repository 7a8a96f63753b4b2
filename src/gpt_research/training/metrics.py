"""Writes the numbers of a run to metrics.jsonl and a tracker, and draws the loss curve."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_research.base.disk import dispensable
from gpt_research.base.errors import look_up
from gpt_research.base.files import AppendedLines, write_text, written_whole
from gpt_research.base.settings import to_dict
from gpt_research.config import TrainConfig
from gpt_research.training.trackers import TRACKERS


class Metrics:
    """Appends one JSON object a line to `metrics.jsonl`, and passes the numbers on to the
    tracker.
    """

    def __init__(self, run: Path, config: TrainConfig, start_step: int) -> None:
        """Open the files, and drop lines after `start_step`, which a resumed run writes again.

        Raises:
            UserError: there is no such tracker, or its package is not installed.
        """
        # An unknown tracker must not cost the old lines, so it is looked up first.
        tracker = look_up(TRACKERS, config.tracker, "tracker")
        path = run / "metrics.jsonl"
        kept = [line for line in read_metrics(run) if line["step"] <= start_step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path, self._file = path, AppendedLines(path)
        self._tracker = tracker(run, to_dict(config)) if tracker is not None else None

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the numbers of a step."""
        plain = {name: _plain(value) for name, value in values.items()}
        with dispensable(self._path):
            self._file.write(json.dumps({"step": step, **plain}) + "\n")
        if self._tracker is not None:
            self._tracker.log(step, dict(_flatten(values)))

    def finish(self) -> None:
        with dispensable(self._path):
            self._file.close()
        if self._tracker is not None:
            self._tracker.finish()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl`, without a last line that a crash cut short."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN and no infinity
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            pairs.append((prefix + name, value))
    return pairs


def draw_loss_curve(run: Path) -> Path | None:
    """Draw `loss.png` from `metrics.jsonl`: smoothed training loss, and validation loss by
    corpus.
    """
    lines = read_metrics(run)
    train = [(m["step"], m["loss"]) for m in lines if m.get("loss") is not None]
    val = [m for m in lines if m.get("val_loss") is not None]
    if not train and not val:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a window system and without pyplot's global state
    axes = figure.add_subplot()
    if train:
        steps, losses = zip(*train, strict=True)
        axes.plot(steps, losses, color="0.75", linewidth=0.8)
        axes.plot(steps, _smoothed(losses), color="tab:blue", linewidth=1.5, label="training (smoothed)")
    if val:
        axes.plot([m["step"] for m in val], [m["val_loss"] for m in val], "o-", ms=3, color="k", label="validation")
        names = sorted(val[-1].get("corpora", {}))
        for name in names if len(names) > 1 else []:
            points = [(m["step"], m["corpora"][name]["loss"]) for m in val if name in m.get("corpora", {})]
            axes.plot(*zip(*points, strict=True), "--", linewidth=1, label=f"validation: {name}")
    axes.set(xlabel="step", ylabel="loss (nats a token)", title=run.name)
    axes.grid(alpha=0.3)
    axes.legend()
    path = run / "loss.png"
    with dispensable(path), written_whole(path) as part:
        figure.savefig(part, dpi=120, format="png")
    return path


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Return an exponential moving average over a twentieth of the curve, corrected for its
    start.
    """
    weight = max(0.0, 1 - 20 / len(values))
    smooth, norm, out = 0.0, 0.0, []
    for value in values:
        smooth, norm = weight * smooth + (1 - weight) * value, weight * norm + (1 - weight)
        out.append(smooth / norm)
    return out
