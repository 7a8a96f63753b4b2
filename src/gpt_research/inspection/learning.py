"""When a run learnt a text: its losses at the checkpoints, token by token.

Shapes: S checkpoints, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpt_research.inspection.predictions import predict

if TYPE_CHECKING:
    from gpt_research.inspection.checkpoints import Checkpoints

LEAST_GAIN = 0.5
"""Nats that a token must have become likelier by to count as learnt."""


@dataclass(frozen=True)
class Learnt:
    """When something was learnt."""

    step: int
    """The first checkpoint from which on the loss stays in the lower half of its fall, from its
    highest value to its last."""
    gain: float
    """That fall, in nats a token."""


@dataclass(frozen=True)
class LossesThroughTraining:
    """A text at several checkpoints of a run."""

    steps: list[int]
    surprise: np.ndarray
    """(S, T) float64, in nats; nan for the first token."""
    rank: np.ndarray
    """(S, T) int64: how many tokens were likelier; -1 for the first."""

    @property
    def loss(self) -> np.ndarray:
        """(S,): the mean surprise at each checkpoint."""
        return self.surprise[:, 1:].mean(1) if self.surprise.shape[1] > 1 else np.full(len(self.steps), np.nan)

    def learnt(self) -> list[Learnt | None]:
        """Return for each token when it was learnt; None if it was not, or nothing predicts it."""
        return [learnt(self.steps, values) for values in self.surprise.T]


def losses_through_training(
    run: Path, tokens: Sequence[int], steps: Iterable[int], checkpoints: Checkpoints
) -> LossesThroughTraining:
    """Return the losses of `tokens` (T,) at the checkpoints of a run, in the order of `steps`.

    Args:
        checkpoints: opens them, and keeps them for the next call.

    Raises:
        CheckpointLost: a checkpoint is not there, or cannot be opened.
        UserError: as `predict` does.
    """
    wanted = list(steps)
    seen = [predict(checkpoints.open(run, step).model, tokens, top=1) for step in wanted]
    return LossesThroughTraining(wanted, np.stack([s.surprise for s in seen]), np.stack([s.rank for s in seen]))


def learnt(steps: Sequence[int], losses: np.ndarray) -> Learnt | None:
    """Return when a loss (S,) fell for good; None if it fell by less than `LEAST_GAIN`, or is not
    known.
    """
    if not len(losses) or not np.isfinite(losses).all():
        return None
    highest = int(losses.argmax())
    gain = float(losses[highest] - losses[-1])
    if gain < LEAST_GAIN:
        return None
    above = np.flatnonzero(losses > losses[-1] + gain / 2)
    return Learnt(steps[int(above[-1]) + 1], gain)
