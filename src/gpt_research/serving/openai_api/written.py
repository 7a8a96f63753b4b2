"""An answer as it is written: whole, or as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import orjson
from fastapi.responses import Response
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from gpt_research.base.errors import UserError
from gpt_research.serving import errors
from gpt_research.serving.batch import Job, RunningBatch
from gpt_research.serving.errors import ApiError

if TYPE_CHECKING:
    from gpt_research.serving.openai_api.answer import Answer

PING_S = 60
"""Seconds of silence after which a comment keeps a stream open."""


async def written(answer: Answer, batch: RunningBatch, *, streamed: bool) -> Response:
    """Let the batch write the samples of an answer, and return it whole or as events."""
    job = batch.submit(answer.engine, answer.requests(), streamed=streamed)
    if streamed:
        return Stream(job, answer)
    with job:
        fresh = [entry async for fresh in job for entry in fresh]
    return Response(answer.whole(fresh), media_type="application/json")


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
