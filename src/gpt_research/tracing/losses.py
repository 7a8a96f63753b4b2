"""The loss of tokens at each checkpoint of a run that is kept: when was a text learnt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.evaluation.evaluated_model import score
from gpt_research.evaluation.windows import rolling_windows
from gpt_research.run import Run


@dataclass(frozen=True)
class CheckpointLoss:
    """How well the weights of a checkpoint predict a text."""

    step: int
    loss: float
    """Nats a token, over the tokens that are predicted."""
    token_losses: list[float]
    """Nats of each of them."""


def losses_at_checkpoints(
    run: Path, tokens: Sequence[int], first: int, last_step: int, device: str = "auto"
) -> list[CheckpointLoss]:
    """Return the loss of tokens at the kept checkpoints of a run up to a step, the first one first.

    Args:
        tokens: the tokens with those before them, as `Tracer.in_context` returns them.
        first: the first that is predicted, 1 or more; the others are only read.

    Raises:
        UserError: a checkpoint is damaged.
    """
    if first >= len(tokens):
        return []  # a single token with nothing before it is not predicted
    runtime, found = startup.start(device, "fp32"), []
    for step in [step for step in saved_steps(run) if step <= last_step]:
        try:
            model = Run.open(run, runtime.device, str(step), ema=False).model
        except UserError:
            if step in saved_steps(run):
                raise
            continue  # training removed it in the meantime
        context = model.config.block_size
        windows = list(rolling_windows(tokens, first, context))
        nats = np.concatenate([scores.nats for scores in score(model, windows, runtime, 8 * context)])
        found.append(CheckpointLoss(step, float(nats.mean()), nats.tolist()))
    return found
