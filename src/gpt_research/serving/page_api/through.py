"""A text through training: its losses at each checkpoint, when it was learnt, and what the
checkpoints write.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.torch_engine import generate
from gpt_research.inspection.checkpoints import CheckpointLost, Checkpoints, shared_checkpoints
from gpt_research.inspection.learning import Learnt, LossesThroughTraining, learnt, losses_through_training
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models
from gpt_research.serving.page_api.asking import (
    MOST_CHARACTERS,
    Question,
    answer,
    listed,
    number,
    numbers,
    ranks,
    tokens_of,
)
from gpt_research.serving.texts import WHOLE
from gpt_research.serving.worker import Work

router = APIRouter(prefix="/api/through", tags=["page"], route_class=WhileConnected)
LONGEST_TEXT = 1024
MOST_STEPS = 100
MOST_WRITING = 20
MOST_NEW_TOKENS = 200
KEPT_LOSSES = 2048
"""Losses of a text at one checkpoint that are kept."""

T = TypeVar("T")
Steps = Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]] | None, Field(max_length=1000)]


class LossQuestion(Question):
    run: str = ""
    steps: Steps = None


class SampleQuestion(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: str = ""
    prompt: Annotated[str, Field(max_length=MOST_CHARACTERS), WHOLE] = ""
    steps: Steps = None
    max_tokens: int = Field(default=60, ge=1, le=MOST_NEW_TOKENS)
    temperature: float = Field(default=0.8, ge=0, le=10)
    seed: int = Field(default=1, ge=0, lt=2**63)


class Kept:
    """The losses that were computed."""

    def __init__(self) -> None:
        self._losses: OrderedDict[tuple[Any, ...], LossesThroughTraining] = OrderedDict()

    def losses(self, checkpoints: Checkpoints, folder: Path, step: int, tokens: Sequence[int]) -> LossesThroughTraining:
        """Return the losses of tokens at one checkpoint, as `losses_through_training` does."""
        run = checkpoints.open(folder, step)
        key = (folder, step, run.weights_sha256, run.averaged, tuple(tokens))
        found = self._losses.pop(key, None)
        if found is None:
            found = losses_through_training(folder, tokens, [step], checkpoints)
        self._losses[key] = found
        if len(self._losses) > KEPT_LOSSES:
            self._losses.popitem(last=False)
        return found


_kept = Kept()


@dataclass(frozen=True)
class Gathered:
    """What the checkpoints gave that could be opened, in the order of their steps."""

    steps: list[int]
    found: list[Any]
    gone: list[dict[str, Any]]
    """Step and reason of the others."""


@router.post("/losses")
async def losses(models: Models, work: Work, question: LossQuestion) -> Response:
    """Return the losses of a text at the checkpoints of a run, token by token."""
    begun = time.perf_counter()
    model = models.find_run(question.run or question.model)
    checkpoints = shared_checkpoints(model.ema)
    wanted, left_out = _chosen(model.folder, question.steps, MOST_STEPS)
    tokenizer = await work.run(_tokenizer, checkpoints, model.folder, wanted)
    ids = tokens_of(tokenizer, question, LONGEST_TEXT, "the page follows")
    gathered = await _gather(wanted, lambda step: work.run(_kept.losses, checkpoints, model.folder, step, ids))
    seen = _joined(gathered, len(ids))
    return answer(
        {
            "run": model.name,
            "tokens": listed(tokenizer, ids),
            "steps": seen.steps,
            "surprise": [numbers(row) for row in seen.surprise],
            "rank": [ranks(row) for row in seen.rank],
            "loss": numbers(seen.loss),
            "learnt": [_shown(found) for found in seen.learnt()],
            "learnt_text": _shown(learnt(seen.steps, seen.loss)),
            "gone": gathered.gone,
            "left_out": left_out,
            "milliseconds": round(1000 * (time.perf_counter() - begun), 1),
        }
    )


@router.post("/samples")
async def samples(models: Models, work: Work, question: SampleQuestion) -> Response:
    """Return what the checkpoints of a run write after a prompt, each with the same seed."""
    model = models.find_run(question.run)
    checkpoints = shared_checkpoints(model.ema)
    wanted, left_out = _chosen(model.folder, question.steps, MOST_WRITING)
    gathered = await _gather(wanted, lambda step: work.run(_write, checkpoints, model.folder, step, question))
    written = [{"step": step, "text": text} for step, text in zip(gathered.steps, gathered.found, strict=True)]
    about = {"run": model.name, "prompt": question.prompt}
    return answer({**about, "samples": written, "gone": gathered.gone, "left_out": left_out})


def _write(checkpoints: Checkpoints, folder: Path, step: int, question: SampleQuestion) -> str:
    run = checkpoints.open(folder, step)
    settings = GenerateConfig(max_new_tokens=question.max_tokens, temperature=question.temperature, seed=question.seed)
    [sample] = generate(run.model, run.tokenizer, question.prompt, settings, notice=lambda message: None)
    return sample.text


def _chosen(folder: Path, steps: list[int] | None, most: int) -> tuple[list[int], int]:
    """Return the checkpoints that are looked at, lowest first, and how many were left out.

    Raises:
        ApiError: 404, the run has no checkpoint; 400, more are named than are looked at.
    """
    if steps is not None:
        wanted = sorted(set(steps))
        if not wanted or len(wanted) > most:
            raise ApiError(400, f"Name 1 to {most} steps, not {len(wanted)}.", param="steps")
        return wanted, 0
    there = saved_steps(folder)
    if not there:
        raise ApiError(404, f"{folder} has no checkpoint yet.", param="run", code="no_checkpoint")
    places = np.unique(np.linspace(0, len(there) - 1, min(most, len(there))).round().astype(int))
    return [there[place] for place in places], len(there) - len(places)


def _tokenizer(checkpoints: Checkpoints, folder: Path, steps: list[int]) -> Tokenizer:
    """Return the tokenizer of a run, from the first of its checkpoints that can be opened."""
    for step in [*steps, *saved_steps(folder)]:
        try:
            return checkpoints.open(folder, step).tokenizer
        except CheckpointLost as error:
            reason = str(error)
    raise ApiError(404, reason, param="steps", code="checkpoint_gone", details={"steps": saved_steps(folder)})


async def _gather(steps: Sequence[int], ask: Callable[[int], Awaitable[T]]) -> Gathered:
    """Ask one checkpoint after another, so that other questions may come between them."""
    there: list[int] = []
    found: list[T] = []
    gone: list[dict[str, Any]] = []
    for step in steps:
        try:
            found.append(await ask(step))
            there.append(step)
        except CheckpointLost as error:
            gone.append({"step": step, "why": str(error)})
    return Gathered(there, found, gone)


def _joined(gathered: Gathered, tokens: int) -> LossesThroughTraining:
    seen: list[LossesThroughTraining] = gathered.found
    if not seen:
        return LossesThroughTraining([], np.empty((0, tokens)), np.empty((0, tokens), np.int64))
    surprise, rank = (np.concatenate([getattr(each, name) for each in seen]) for name in ("surprise", "rank"))
    return LossesThroughTraining(gathered.steps, surprise, rank)


def _shown(found: Learnt | None) -> dict[str, Any] | None:
    return None if found is None else {"step": found.step, "gain": number(found.gain)}
