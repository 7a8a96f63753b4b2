"""Where a run's numbers go: metrics.jsonl always, a tracker by choice, and the loss curve drawn from the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gpt_research.base.errors import UserError
from gpt_research.base.settings import to_dict
from gpt_research.config import TrainConfig


class Tracker(Protocol):
    """A place that takes numbers by step."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...


class Metrics:
    """Appends one JSON object a line to `metrics.jsonl`, and passes its numbers on to the tracker."""

    def __init__(self, run: Path, config: TrainConfig, start_step: int) -> None:
        """Open the file; lines after `start_step` go, for a resumed run writes them again."""
        self.path = run / "metrics.jsonl"
        kept = [line for line in read_metrics(run) if line["step"] <= start_step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        part.replace(self.path)
        self._file = open(self.path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  closed in finish
        self._tracker = _make_tracker(run, config)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write numbers of a step; what is not finite is written as null, for JSON has no NaN."""
        plain = {k: _plain(v) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **plain}) + "\n")
        if self._tracker is not None:
            self._tracker.log(step, dict(_flatten(values)))

    def finish(self) -> None:
        self._file.close()
        if self._tracker is not None:
            self._tracker.finish()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl`; a last line that a crash cut short is left out."""
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
        return None
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            pairs.append((prefix + name, value))
    return pairs


def _make_tracker(run: Path, config: TrainConfig) -> Tracker | None:
    if config.tracker == "wandb":
        return WandbTracker(run, config)
    if config.tracker == "tensorboard":
        return TensorboardTracker(run)
    return None


class WandbTracker:
    """Weights & Biases; without a network set WANDB_MODE=offline and `wandb sync` later."""

    def __init__(self, run: Path, config: TrainConfig) -> None:
        import wandb

        self._run = wandb.init(
            project="gpt-research",
            name=run.name,
            dir=run,
            config=to_dict(config),
            resume="allow",
            id=run.name,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


class TensorboardTracker:
    """Event files under `<run>/tensorboard`."""

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError('tracker tensorboard is not installed. Run: pip install "gpt-research[track]"') from None
        self._writer = SummaryWriter(str(run / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


def draw_loss_curve(run: Path) -> Path | None:
    """Draw `loss.png` from `metrics.jsonl`: training loss, smoothed, and validation loss of each corpus."""
    lines = read_metrics(run)
    train = [(m["step"], m["loss"]) for m in lines if m.get("loss") is not None]
    val = [m for m in lines if m.get("val_loss") is not None]
    if not train and not val:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, no global state
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
    figure.savefig(path, dpi=120)
    return path


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Exponential moving average over about a twentieth of the curve, without the bias towards its start."""
    weight = max(0.0, 1 - 20 / len(values))
    smooth, norm, out = 0.0, 0.0, []
    for value in values:
        smooth, norm = weight * smooth + (1 - weight) * value, weight * norm + (1 - weight)
        out.append(smooth / norm)
    return out
