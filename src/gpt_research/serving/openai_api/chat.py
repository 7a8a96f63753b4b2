"""`/v1/chat/completions`: a conversation, for models that have a chat format.

No model has one yet: what was only pretrained continues texts. This is the place where a model with
a chat format makes a prompt of the messages and goes on as `completions.complete` does.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models

router = APIRouter(prefix="/v1", tags=["openai"])


class ChatRequest(BaseModel):
    """A conversation to go on with."""

    model_config = ConfigDict(extra="allow")

    model: str = ""
    messages: list[dict[str, Any]]


@router.post("/chat/completions", response_model=None)
async def chat(asked: ChatRequest, models: Models) -> None:
    """Refuse, and say what to use instead."""
    model = models.find(asked.model)
    raise ApiError(
        400,
        f"{model.name} has no chat format: it was trained to continue texts, not to answer. Use /v1/completions with "
        'a "prompt", in the OpenAI client `client.completions.create(prompt=...)`.',
        param="messages",
        code="no_chat_format",
    )
