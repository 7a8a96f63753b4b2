"""What the page's questions have in common: a model, a text, and how the answer is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import orjson
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import checkpoint_path, saved_steps
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.serving.errors import ApiError
from gpt_research.serving.texts import WHOLE

if TYPE_CHECKING:
    from gpt_research.run import Run
    from gpt_research.serving.models import ServedModel, ServedModels

MOST_CHARACTERS = 400_000
MOST_TOKENS = 65_536
"""Limits of one question, before its text is looked at."""
DIGITS = 5
_SIGNS = str.maketrans({"\n": "⏎", "\t": "⇥", "\r": "␍"})


class Question(BaseModel):
    """A text, and the model that is asked about it."""

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    text: Annotated[str, Field(max_length=MOST_CHARACTERS), WHOLE] | None = None
    tokens: list[int] | None = Field(default=None, max_length=MOST_TOKENS)
    start: bool = True
    """Put the end-of-text token before the text, as before each document in training."""


def find_model(models: ServedModels, name: str) -> ServedModel:
    """Return the served model of a name, whose checkpoint is there.

    Raises:
        ApiError: 404, there is no such model or checkpoint, or it was deleted.
    """
    try:
        model = models.find(name)
    except ApiError as error:
        base = name.rpartition("@")[0]
        run = models.find_run(base or name)  # there is none, or none of its checkpoints is meant
        details = {"steps": saved_steps(run.folder)}
        raise ApiError(404, error.message, param="model", code="unknown_checkpoint", details=details) from None
    if not checkpoint_path(model.folder, model.step).is_dir():
        raise gone(model)
    return model


def gone(model: ServedModel) -> ApiError:
    """Return the error for a checkpoint that was deleted."""
    steps = saved_steps(model.folder)
    there = f"Its run has those of the steps {', '.join(f'{step:,}' for step in steps)}." if steps else "None is left."
    message = f"The checkpoint of step {model.step:,} of {model.name.partition('@')[0]} was deleted. {there}"
    return ApiError(404, message, param="model", code="checkpoint_gone", details={"steps": steps})


async def open_run(models: ServedModels, name: str) -> Run:
    """Return the opened run of a model.

    Raises:
        ApiError: as `find_model` does; 409, the checkpoint is damaged.
    """
    model = find_model(models, name)
    try:
        return await models.run(name)
    except UserError as error:
        if not checkpoint_path(model.folder, model.step).is_dir():
            raise gone(model) from None
        raise ApiError(409, str(error), param="model", code="checkpoint_damaged") from None


def tokens_of(tokenizer: Tokenizer, question: Question, limit: int, what: str = "the model looks at") -> list[int]:
    """Return the tokens of a question's text, or those that it gives.

    Args:
        limit: the most tokens that fit, the end-of-text token at the start included.
        what: who has this limit, for the error.

    Raises:
        ApiError: there is no text, it is too long or its tokenizer cannot write it.
    """
    if (question.text is None) == (question.tokens is None):
        raise ApiError(400, "Give either text or tokens.", param="text")
    start = [tokenizer.end_of_text] if question.start else []
    try:
        found = tokenizer.encode(question.text) if question.text is not None else list(question.tokens or [])
    except UserError as error:
        raise ApiError(400, str(error), param="text", code="text_unknown_characters") from None
    if wrong := [token for token in found if not 0 <= token < tokenizer.vocab_size]:
        message = f"Token id {wrong[0]} is outside the vocabulary (0 to {tokenizer.vocab_size - 1})."
        raise ApiError(400, message, param="tokens")
    if not found:
        raise ApiError(400, "The text is empty. Write a word.", param="text", code="text_empty")
    if len(start) + len(found) > limit:
        raise too_long(len(found), limit - len(start), what)
    return start + found


def too_long(tokens: int, limit: int, what: str) -> ApiError:
    """Return the error for a text of more tokens than are taken."""
    return ApiError(
        400,
        f"The text has {tokens:,} tokens, and {what} {limit:,} at most. Shorten it.",
        param="text",
        code="text_too_long",
        details={"tokens": tokens, "limit": limit},
    )


def listed(tokenizer: Tokenizer, ids: Iterable[int]) -> list[dict[str, Any]]:
    """Return tokens as the page shows them; their texts together are the whole text."""
    decoder, found = tokenizer.stream_decoder(), []
    for token in ids:
        found.append({**described(tokenizer, int(token)), "text": decoder.push(int(token))})
    if found and (rest := decoder.flush()):
        found[-1]["text"] += rest
    return found


def described(tokenizer: Tokenizer, token: int) -> dict[str, Any]:
    """Return one token as it looks by itself."""
    for name, special in tokenizer.vocabulary.specials.items():
        if token == special:
            return {"id": token, "text": "", "label": name, "special": True}
    content = tokenizer.decode_bytes([token])
    return {"id": token, "text": content.decode("utf-8", "replace"), "label": label_of(content)}


def label_of(content: bytes) -> str:
    """Return the text of a token with its blanks made visible; bytes that are no character as
    \\xE2.
    """
    text = content.decode("utf-8", "backslashreplace").translate(_SIGNS)
    inside = text.strip(" ")
    if not inside:
        return "␣" * len(text)
    before = len(text) - len(text.lstrip(" "))
    return "␣" * before + inside + "␣" * (len(text) - before - len(inside))


def likeliest(tokenizer: Tokenizer, ids: np.ndarray, probabilities: np.ndarray) -> list[list[dict[str, Any]]]:
    """Return the likeliest tokens of each position, for arrays (T, k)."""
    known = {int(token): described(tokenizer, int(token)) for token in np.unique(ids)}
    return [
        [
            {**known[token], "probability": round(chance, DIGITS)}
            for token, chance in zip(row, chances, strict=True)
        ]
        for row, chances in zip(ids.tolist(), probabilities.tolist(), strict=True)
    ]  # fmt: skip


def numbers(values: np.ndarray | Sequence[float], digits: int = DIGITS) -> list[Any]:
    """Return numbers rounded, as lists of lists; None where there is none."""
    array = np.asarray(values, dtype=np.float64)
    rounded = np.round(array, digits).astype(object)
    rounded[~np.isfinite(array)] = None
    found: list[Any] = rounded.tolist()
    return found


def number(value: float | None, digits: int = DIGITS) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def ranks(values: np.ndarray) -> list[Any]:
    """Return ranks as lists; None instead of -1."""
    return [None if rank < 0 else rank for rank in values.tolist()]


def about(model: ServedModel, run: Run) -> dict[str, Any]:
    """Return what every answer about a model begins with."""
    return {"model": model.name, "step": run.step}


def answer(content: Any) -> Response:
    """Return JSON; orjson writes long lists many times as fast as Python's own."""
    return Response(orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS), media_type="application/json")
