"""What a run tells while it goes on, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_research.training.validation import Loss

if TYPE_CHECKING:
    from gpt_research.training.loop import Trainer


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    run: Path
    step: int
    """Steps taken in the run's whole life."""
    steps_here: int
    """Steps taken by this call."""
    losses: dict[str, Loss]
    """Last evaluation, by corpus; empty where the run was stopped before one."""
    stopped_by: int | None
    """The signal that ended it, or None."""


class Reporter:
    """What a run tells while it goes on; the command line shows it, tests leave it silent."""

    def start(self, trainer: Trainer) -> None: ...

    def step(self, step: int, values: dict[str, float]) -> None: ...

    def evaluated(self, step: int, losses: dict[str, Loss]) -> None: ...

    def saved(self, step: int, path: Path) -> None: ...

    def note(self, text: str) -> None: ...
