"""The loss of a span at each checkpoint that is kept, where the run read it: when was it learnt?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.evaluation.evaluated_model import score
from gpt_research.evaluation.windows import rolling_windows
from gpt_research.run import Run
from gpt_research.tracing.index import SplitIndex
from gpt_research.tracing.trace import Place, Span, Tracer


@dataclass(frozen=True)
class CheckpointLoss:
    """How well the weights of a checkpoint predict a span."""

    step: int
    loss: float
    """Nats a token, over the tokens that have one before them."""
    token_losses: list[float]
    """Nats of each token of the span that has one before it: the last ones."""


def losses_of(tracer: Tracer, span: Span, device: str = "auto") -> list[CheckpointLoss]:
    """Return the loss of a span at the kept checkpoints of a run up to its last step that is looked
    at, the first one first.

    The tokens before the span are those that the window held in which a step first read it whole.
    If none did, or the span is of the validation split, they are those of its document, as far as
    the context holds them.

    Raises:
        UserError: a checkpoint is damaged.
    """
    validates = not span.places
    place = (span.validation_places if validates else span.places)[0]
    tokens, first = _in_context(tracer.index.val if validates else tracer.index.train, place, tracer, len(span.tokens))
    if len(tokens) < 2:
        return []  # a single token with nothing before it is not predicted
    runtime, found = startup.start(device, "fp32"), []
    folder = tracer.reference.folder
    for step in [step for step in saved_steps(folder) if step <= tracer.readings.last_step]:
        try:
            model = Run.open(folder, runtime.device, str(step), ema=False).model
        except UserError:
            if step in saved_steps(folder):
                raise
            continue  # training removed it in the meantime
        context = model.config.block_size
        windows = list(rolling_windows(tokens.tolist(), first, context))
        nats = np.concatenate([scores.nats for scores in score(model, windows, runtime, 8 * context)])
        found.append(CheckpointLoss(step, float(nats.mean()), nats.tolist()))
    return found


def _in_context(split: SplitIndex, place: Place, tracer: Tracer, length: int) -> tuple[np.ndarray, int]:
    """Return the tokens of a span with those before it, and which of them is the first that is
    predicted.
    """
    whole = next((reading for reading in place.readings if reading.is_whole), None)
    held = tracer.readings.dataset.block_size + 1 - length if whole is None else whole.in_window
    in_document = place.token_in_document
    # With shuffle_documents, what stood before the document was another one in each pass.
    shuffled = any(part.loader.shuffle_documents for part in tracer.readings.parts)
    in_shard = in_document if whole is None or shuffled else place.token_in_shard
    lead = max(0, min(held, in_shard))
    array = split.text.files[place.corpus].arrays[place.shard]
    tokens = array[place.token_in_shard - lead : place.token_in_shard + length].astype(np.int64)
    return tokens, max(1, lead)
