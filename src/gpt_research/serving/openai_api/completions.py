"""`/v1/completions`: continue a text, or score it, or both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from gpt_research.base.errors import UserError
from gpt_research.serving import errors
from gpt_research.serving.batch import Fresh, Job, RunningBatch
from gpt_research.serving.disconnects import unless_disconnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models
from gpt_research.serving.openai_api.answer import Answer
from gpt_research.serving.openai_api.prompt_scores import score_prompt
from gpt_research.serving.openai_api.prompts import encode_prompts, prompts_of
from gpt_research.serving.openai_api.schemas import Completion, CompletionRequest
from gpt_research.serving.worker import Work

PING_S = 60
"""Seconds of silence after which a comment keeps a stream open."""
router = APIRouter(prefix="/v1", tags=["openai"])


@router.post(
    "/completions",
    response_model=None,
    responses={200: {"model": Completion, "content": {"text/event-stream": {}}}},
)
async def complete(
    asked: CompletionRequest, request: Request, models: Models, batch: RunningBatch, work: Work
) -> Response:
    """Continue one or several prompts."""
    if asked.best_of not in (None, asked.samples):
        raise ApiError(400, "best_of: only the value of n is supported. Leave it out.", param="best_of")
    answer = await unless_disconnected(request, _begin(asked, models, batch, work))
    if asked.tokens_to_write == 0:
        return Response(answer.without_samples(), media_type="application/json")
    job = batch.submit(answer.engine, answer.requests(), streamed=bool(asked.stream))
    if asked.stream:
        return Stream(job, answer)
    with job:
        fresh = await unless_disconnected(request, _all(job))
    return Response(answer.whole(fresh), media_type="application/json")


async def _begin(asked: CompletionRequest, models: Models, batch: RunningBatch, work: Work) -> Answer:
    """Open the model, and encode and score the prompts."""
    model = models.find(asked.model)
    engine = await models.engines.get(model)
    tokens = await encode_prompts(asked, engine, work)
    scores = None
    if asked.echo and asked.logprobs is not None:
        run = await models.runs.get(model)
        size = engine.tokenizer.vocab_size
        scores = [await batch.call(score_prompt, run.model, own, asked.logprobs, size) for own in tokens]
    return Answer(asked, model.name, engine, prompts_of(asked), tokens, scores)


async def _all(job: Job) -> Fresh:
    return [entry async for fresh in job for entry in fresh]


class Stream(EventSourceResponse):
    """The events of a job, which ends with the response, however that ends."""

    def __init__(self, job: Job, answer: Answer) -> None:
        super().__init__(_events(job, answer), ping=PING_S)
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._job:
            await super().__call__(scope, receive, send)


async def _events(job: Job, answer: Answer) -> AsyncIterator[bytes]:
    if first := answer.first_events():
        yield first
    try:
        async for fresh in job:
            yield answer.events(fresh)
    except (ApiError, UserError) as error:
        # The status is sent already, so the error is an event, as in OpenAI's API.
        shown = error if isinstance(error, ApiError) else ApiError(400, str(error))
        yield b"data: " + orjson.dumps(errors.body(shown)) + b"\n\n"
        return
    yield answer.last_events()
