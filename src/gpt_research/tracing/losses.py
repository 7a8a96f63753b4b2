"""The loss of tokens at each checkpoint of a run that is kept: when was a text learnt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_research.checkpoint.files import saved_steps
from gpt_research.inspection.checkpoints import CheckpointGone, Checkpoints
from gpt_research.inspection.validation import token_losses


@dataclass(frozen=True)
class CheckpointLoss:
    """How well the weights of a checkpoint predict a text."""

    step: int
    loss: float
    """Nats a token, over the tokens that are predicted."""
    token_losses: list[float]
    """Nats of each of them."""


def losses_at_checkpoints(
    run: Path, tokens: Sequence[int], first: int, last_step: int, checkpoints: Checkpoints | None = None
) -> list[CheckpointLoss]:
    """Return the loss of tokens at the kept checkpoints of a run up to a step, the first one first.

    Args:
        tokens: the tokens with those before them, as `Tracer.in_context` returns them.
        first: the first that is predicted, 1 or more; the others are only read.
        checkpoints: opens them, and keeps them for the next call.

    Raises:
        UserError: a checkpoint is damaged.
    """
    checkpoints, found = checkpoints or Checkpoints(room=0), []
    if first >= len(tokens):
        return []  # a single token with nothing before it is not predicted
    for step in [step for step in saved_steps(run) if step <= last_step]:
        try:
            model = checkpoints.open(run, step).model
        except CheckpointGone:  # training removed it in the meantime
            continue
        nats = token_losses(model, tokens, first)
        found.append(CheckpointLoss(step, float(nats.mean()), nats.tolist()))
    return found
