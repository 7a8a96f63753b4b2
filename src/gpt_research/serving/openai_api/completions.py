"""`/v1/completions`: continue a text, or score it, or both."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from gpt_research.serving.batch import RunningBatch
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models
from gpt_research.serving.openai_api.answer import Answer
from gpt_research.serving.openai_api.prompt_scores import score_prompt
from gpt_research.serving.openai_api.prompts import encode_prompts, prompts_of
from gpt_research.serving.openai_api.schemas import Completion, CompletionRequest
from gpt_research.serving.openai_api.written import written
from gpt_research.serving.worker import Work

router = APIRouter(prefix="/v1", tags=["openai"], route_class=WhileConnected)


@router.post(
    "/completions",
    response_model=None,
    responses={200: {"model": Completion, "content": {"text/event-stream": {}}}},
)
async def complete(asked: CompletionRequest, models: Models, batch: RunningBatch, work: Work) -> Response:
    """Continue one or several prompts."""
    if asked.best_of not in (None, asked.samples):
        raise ApiError(400, "best_of: only the value of n is supported. Leave it out.", param="best_of")
    answer = await _begin(asked, models, batch, work)
    if asked.tokens_to_write == 0:
        return Response(answer.without_samples(), media_type="application/json")
    return await written(answer, batch, streamed=bool(asked.stream))


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
