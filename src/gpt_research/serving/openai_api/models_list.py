"""`/v1/models`: the names that a request may give."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from gpt_research.serving.models import Models, ServedModel

router = APIRouter(prefix="/v1/models", tags=["openai"])


class ModelCard(BaseModel):
    """A model, in OpenAI's shape."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "gpt-research"


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


@router.get("")
async def list_models(models: Models) -> ModelList:
    """Return the models that the server was started with."""
    return ModelList(data=[_card(model) for model in models.named.values()])


@router.get("/{name:path}")
async def one_model(models: Models, name: str) -> ModelCard:
    """Return one model."""
    return _card(models.find(name))


def _card(model: ServedModel) -> ModelCard:
    return ModelCard(id=model.name, created=model.created)
