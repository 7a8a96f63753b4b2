"""The interface between training and a display: `Reporter` has a method for each event."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig
from gpt_research.training.execution import ExecutionPlan
from gpt_research.training.validation import Loss


@dataclass(frozen=True)
class Beginning:
    """The facts about a run when its first step begins."""

    config: TrainConfig
    runtime: Runtime
    plan: ExecutionPlan
    parameters: int
    tokens: int
    """Tokens that the whole run reads."""
    epochs: dict[str, float]
    """How often the whole run reads each corpus."""
    corpora: int
    """Corpora with a validation split."""
    start_step: int
    """Steps that the run has taken already."""
    flops_per_token: float
    peak_flops: float
    """FLOP/s of one device, the base of MFU."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    run: Path
    step: int
    """Steps taken in the run's whole life."""
    steps_here: int
    """Steps taken by this call."""
    losses: dict[str, Loss]
    """The last evaluation, by corpus; empty if the run was stopped before one."""
    stopped_by: int | None
    """The signal that ended it, or None."""
    ended_early: bool = False
    """True if early stopping ended it before max_steps."""


class Reporter:
    """Takes what a run reports. This one is silent; the command line shows it on the terminal."""

    def start(self, beginning: Beginning) -> None:
        """Called once, before the first step."""

    def before_pass(self) -> None:
        """Called before each forward and backward pass; it must not touch torch's global random
        state.
        """

    def paused(self, seconds: float) -> None:
        """Called after an evaluation or a save, with the seconds that it took from training."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """Called with the numbers of each logged step."""

    def evaluated(self, step: int, losses: dict[str, Loss]) -> None:
        """Called after each evaluation, with the loss of each corpus."""

    def evaluated_average(self, step: int, losses: dict[str, Loss]) -> None:
        """Called after `evaluated` with the losses of the averaged weights, if the run has them."""

    def saved(self, step: int, path: Path) -> None:
        """Called when a checkpoint is on the disk, which may be some steps after its own."""

    def stopping(self) -> None:
        """Called from the signal handler, when the run is asked to stop and will save first."""

    def note(self, text: str) -> None:
        """Called with a sentence for the user."""
