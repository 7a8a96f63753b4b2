"""Trackers: services that record a run's numbers beside metrics.jsonl.

To add one, put a class like these into `TRACKERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gpt_research.base.errors import UserError


class Tracker(Protocol):
    """Records numbers by step."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        """Begin to record a run, given its folder and its settings."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of a step."""

    def finish(self) -> None:
        """Write what is not written yet, and close."""


class WandbTracker:
    """Weights & Biases; without a network set WANDB_MODE=offline and run `wandb sync` later."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project="gpt-research", name=run.name, dir=run, config=dict(settings), resume="allow", id=run.name
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


class TensorboardTracker:
    """Event files under `<run>/tensorboard`."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
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


TRACKERS: dict[str, type[Tracker] | None] = {"none": None, "wandb": WandbTracker, "tensorboard": TensorboardTracker}
