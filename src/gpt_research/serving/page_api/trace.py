"""Where the training data has the words of a text, when the run read them, and how well each
checkpoint knows them.

The page needs an index of the data set (`gpt-research index`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.inspection.checkpoints import CheckpointLost, Checkpoints, shared_checkpoints
from gpt_research.inspection.validation import token_losses
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models
from gpt_research.serving.page_api.asking import answer, number, numbers
from gpt_research.serving.page_api.run_data import data_of
from gpt_research.serving.texts import WHOLE
from gpt_research.serving.worker import Work
from gpt_research.training.metrics import METRICS

if TYPE_CHECKING:
    from gpt_research.tracing.trace import Trace, Tracer

LONGEST_TEXT = 20_000
"""Characters."""
MOST_CHECKPOINTS = 100


class TraceQuestion(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: str = ""
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT), WHOLE]
    before: Annotated[str, Field(max_length=LONGEST_TEXT), WHOLE] = ""
    """What stands before the text, such as the text from which words were chosen."""
    limit: Annotated[int, Field(ge=1, le=50)] = 5
    minimum: Annotated[int, Field(ge=1, le=1000)] = 2


class SpanQuestion(TraceQuestion):
    span: Annotated[int, Field(ge=0, le=LONGEST_TEXT)]
    """Number of the span in the answer to the same question."""


def trace_router(open_tracer: Callable[[Path], Tracer]) -> APIRouter:
    """Return the router.

    Args:
        open_tracer: opens a run with the index of its data; it is called when the page is about to
            ask, because opening takes a moment.
    """
    router = APIRouter(prefix="/api/trace", tags=["page"], route_class=WhileConnected)

    @lru_cache(maxsize=4)
    def opened(run: Path, changed: tuple[object, ...]) -> Tracer:
        return open_tracer(run)

    def tracer_of(run: Path) -> Tracer:
        changed = _changed(run)
        try:
            return opened(run, changed)
        except UserError as error:
            raise ApiError(404, str(error), param="run", code="no_index") from None

    def traced(run: Path, question: TraceQuestion) -> tuple[Tracer, Trace]:
        tracer = tracer_of(run)
        found = tracer.trace(
            question.text, before=question.before or None, limit=question.limit, minimum=question.minimum
        )
        return tracer, found

    @router.get("")
    async def ready(models: Models, work: Work, run: str = "") -> Response:
        """Open a run with the index of its data, so that the first question does not wait for that;
        return the last step that is looked at.
        """
        model = models.find_run(run)
        tracer = await work.run(tracer_of, model.folder)
        return answer({"run": model.name, "last_step": tracer.readings.last_step})

    @router.post("")
    async def trace(models: Models, work: Work, question: TraceQuestion) -> Response:
        """Return the parts of a text that the data has."""
        run = models.find_run(question.run).folder

        def found() -> Response:
            return answer(traced(run, question)[1].as_json())

        return await work.run(found)

    @router.post("/losses")
    async def losses(models: Models, work: Work, question: SpanQuestion) -> Response:
        """Return the loss of a span at each checkpoint, in the words around it as the run read
        them.
        """
        model = models.find_run(question.run)
        run, checkpoints = model.folder, shared_checkpoints(model.ema)
        tracer, seen = await work.run(traced, run, question)
        if question.span >= len(seen.spans):
            raise ApiError(400, f"The text has {len(seen.spans)} spans, numbered from 0.", param="span")
        tokens, first = await work.run(tracer.in_context, seen.spans[question.span])
        found, gone = [], []
        for step in saved_steps(run)[-MOST_CHECKPOINTS:]:
            try:
                nats = await work.run(_nats, checkpoints, run, step, tokens, first)
            except CheckpointLost as error:
                gone.append({"step": step, "why": str(error)})
                continue
            if len(nats):
                found.append({"step": step, "loss": number(nats.mean()), "token_losses": numbers(nats)})
        return answer({"run": question.run, "span": question.span, "losses": found, "gone": gone})

    return router


def _changed(run: Path) -> tuple[object, ...]:
    """Return what a tracer depends on: the steps of the run, its data and the index.

    Raises:
        ApiError: 404, the data set or its index is not there.
    """
    data = data_of(run)
    if data.state != "foreign":
        data.require(steps=True)
    index, metrics = data.folder / "suffix_array" / "index.json", run / METRICS
    written = [path.stat().st_mtime_ns if path.is_file() else 0 for path in (index, metrics)]
    return data.folder, data.fingerprint, *written, *saved_steps(run)


def _nats(checkpoints: Checkpoints, run: Path, step: int, tokens: list[int], first: int) -> np.ndarray:
    return token_losses(checkpoints.open(run, step).model, tokens, first)
