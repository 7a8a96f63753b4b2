"""`/v1/chat/completions`: a conversation, for models that were fine-tuned on conversations.

The messages become tokens by the model's chat format, and what follows is `/v1/completions`. A
model that was only pretrained continues texts, so it is refused.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gpt_research.base.errors import UserError
from gpt_research.data.chat_format import encode_chat, has_chat_format
from gpt_research.run_reference import RunReference
from gpt_research.serving.batch import RunningBatch
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models, ServedModel
from gpt_research.serving.openai_api.answer import Answer, Json
from gpt_research.serving.openai_api.schemas import MOST_TOKENS, CompletionRequest, Sampling
from gpt_research.serving.openai_api.written import written
from gpt_research.serving.texts import WholeText
from gpt_research.training.inspect_run import training_of

router = APIRouter(prefix="/v1", tags=["openai"], route_class=WhileConnected)


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: WholeText


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: WholeText | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Sampling):
    """A conversation to go on with."""

    messages: list[Message] = Field(min_length=1, max_length=1 << 10)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    """Tokens of an answer at most. Default: what the context has room for."""
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    """The older name of max_completion_tokens."""

    def as_completion(self, tokens: list[int], room: int) -> CompletionRequest:
        """Return the request that writes the answer.

        Args:
            room: tokens that the context has left.
        """
        own = {"messages", "max_tokens", "max_completion_tokens"}
        limit = self.max_completion_tokens or self.max_tokens or min(room, MOST_TOKENS)
        return CompletionRequest(prompt=tokens, max_tokens=limit, **self.model_dump(exclude=own))


@router.post("/chat/completions", response_model=None)
async def chat(asked: ChatRequest, models: Models, batch: RunningBatch) -> Response:
    """Answer a conversation."""
    model = models.find(asked.model)
    if not has_chat_format(_lineage(model)):
        raise ApiError(
            400,
            f"{model.name} has no chat format: it was trained to continue texts, not to answer. Use /v1/completions "
            'with a "prompt", in the OpenAI client `client.completions.create(prompt=...)`; or fine-tune it on '
            "conversations.",
            param="messages",
            code="no_chat_format",
        )
    engine = await models.engines.get(model)
    try:
        tokens = encode_chat(engine.tokenizer, [(message.role, message.text) for message in asked.messages])
    except UserError as error:
        raise ApiError(400, str(error), param="messages") from None
    room = engine.block_size - len(tokens)
    if room < 1:
        raise ApiError(
            400,
            f"The conversation has {len(tokens):,} tokens, which leave no room for an answer in the context of "
            f"{engine.block_size}. Leave its oldest messages out.",
            param="messages",
        )
    completion = asked.as_completion(tokens, room)
    answer = ChatAnswer(completion, model.name, engine, [tokens], [tokens], None)
    return await written(answer, batch, streamed=bool(asked.stream))


def _lineage(model: ServedModel) -> dict[str, Any]:
    return training_of(RunReference(model.folder, str(model.step), is_named=True)).lineage


class ChatAnswer(Answer):
    """An answer as the messages of `/v1/chat/completions`."""

    def whole(self, fresh: Any) -> bytes:
        """Return the answer, from all pieces."""
        found = orjson.loads(super().whole(fresh))
        found["choices"] = [_said(choice, "message", role="assistant") for choice in found["choices"]]
        return orjson.dumps(_named(found, "chat.completion"))

    def first_events(self) -> bytes:
        """Return the first events of a stream, which say whose words follow."""
        starts = [self._start(index) for index in range(len(self._reports))]
        return b"".join(self._event([start | {"role": "assistant"}]) for start in starts)

    def _event(self, choices: list[Json], usage: Json | None = None) -> bytes:
        deltas = [
            _said(choice, "delta", **{name: choice[name] for name in ("role",) if name in choice}) for choice in choices
        ]
        whole = _named({**self._frame, "choices": deltas, "usage": usage}, "chat.completion.chunk")
        return b"data: " + orjson.dumps(whole) + b"\n\n"


def _said(choice: Json, name: str, **role: str) -> Json:
    """Return a choice with a message, or the next part of one, in place of its text."""
    kept = {entry: value for entry, value in choice.items() if entry not in ("text", "role")}
    return {**kept, name: {**role, "content": choice["text"]}}


def _named(answer: Json, kind: str) -> Json:
    return answer | {"object": kind, "id": answer["id"].replace("cmpl-", "chatcmpl-", 1)}
