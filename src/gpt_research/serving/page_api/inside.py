"""Looking inside a model: the tokens of a text, what is expected of them, attention, the lens,
parts that are switched off.
"""

from __future__ import annotations

import base64
import math
import time
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gpt_research.base.errors import require
from gpt_research.inspection.attention import attention_weights, head_pictures
from gpt_research.inspection.lens import logit_lens
from gpt_research.inspection.predictions import predict
from gpt_research.inspection.readout import Readout
from gpt_research.inspection.switching import effects, switch_off
from gpt_research.inspection.watching import Off
from gpt_research.run import Run
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.models import Models, ServedModel
from gpt_research.serving.page_api.asking import (
    MOST_CHARACTERS,
    Question,
    about,
    answer,
    find_model,
    likeliest,
    listed,
    number,
    numbers,
    open_run,
    ranks,
    tokens_of,
    too_long,
)
from gpt_research.serving.texts import WHOLE
from gpt_research.serving.worker import Work

router = APIRouter(prefix="/api", tags=["page"], route_class=WhileConnected)
LONGEST_TEXT = 4096
"""Tokens of a text that is analysed in windows."""
LONGEST_GRID = 1024
"""Tokens of a text whose attention is shown: weights grow with the square."""
MOST_PASSES = 4_000_000
"""Tokens that are read to find what each part does: a pass of the text for each part."""
PICTURE = 64
"""Cells on each side of a head's picture."""
Top = Annotated[int, Field(ge=0, le=20)]
Part = Annotated[list[int], Field(max_length=1024)]


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = ""
    text: Annotated[str, Field(max_length=MOST_CHARACTERS), WHOLE]


class AnalysisQuestion(Question):
    top: Top = 5


class HeadQuestion(Question):
    layer: int
    head: int


class LensQuestion(Question):
    top: Annotated[int, Field(ge=1, le=10)] = 3


class Parts(BaseModel):
    """As in `inspection.watching.Off`."""

    model_config = ConfigDict(extra="forbid")

    heads: Annotated[list[tuple[int, int]], Field(max_length=4096)] = []
    attention: Part = []
    mlps: Part = []
    layers: Part = []


class SwitchQuestion(Question):
    off: Parts
    top: Top = 5


@router.post("/tokenize")
async def tokenize(models: Models, work: Work, question: Text) -> Response:
    """Return the tokens of a text."""
    model, run = find_model(models, question.model), await open_run(models, question.model)

    def found() -> Response:
        ids = run.tokenizer.encode(question.text)
        if len(ids) > LONGEST_TEXT:
            raise too_long(len(ids), LONGEST_TEXT, "the page shows")
        context = run.model.config.block_size
        size = {"count": len(ids), "context": context, "fits": len(ids) < context}
        length = {"bytes": len(question.text.encode("utf-8", "replace"))}
        return answer({**about(model, run), "tokens": listed(run.tokenizer, ids), **size, **length})

    return await work.run(found)


@router.post("/analysis")
async def analysis(models: Models, work: Work, question: AnalysisQuestion) -> Response:
    """Return surprise, entropy and the likeliest tokens, token by token."""
    model, run = find_model(models, question.model), await open_run(models, question.model)
    return await work.run(_analysis, model, run, question)


def _analysis(model: ServedModel, run: Run, question: AnalysisQuestion) -> Response:
    begun = time.perf_counter()
    ids = tokens_of(run.tokenizer, question, LONGEST_TEXT, "the page analyses")
    seen = predict(run.model, ids, question.top)
    scored = seen.surprise[1:]
    text_bytes = int(run.tokenizer.byte_lengths[ids[1:]].sum())
    return answer(
        {
            **about(model, run),
            "tokens": listed(run.tokenizer, ids),
            "surprise": numbers(seen.surprise),
            "probability": numbers(np.exp(-seen.surprise)),
            "rank": ranks(seen.rank),
            "entropy": numbers(seen.entropy),
            "top": likeliest(run.tokenizer, seen.top, seen.top_probability),
            "loss": number(seen.loss),
            "perplexity": number(math.exp(seen.loss) if seen.loss < 700 else math.inf),
            "bits_per_byte": number(scored.sum() / math.log(2) / text_bytes if text_bytes else math.nan),
            "scored": len(scored),
            "windows": seen.windows,
            "milliseconds": _since(begun),
        }
    )


@router.post("/attention")
async def attention(models: Models, work: Work, question: Question) -> Response:
    """Return small pictures of all heads, and what they are like in numbers."""
    model, run = find_model(models, question.model), await open_run(models, question.model)
    return await work.run(_attention, model, run, question)


def _attention(model: ServedModel, run: Run, question: Question) -> Response:
    ids = tokens_of(run.tokenizer, question, min(run.model.config.block_size, LONGEST_GRID))
    seen = head_pictures(run.model, ids, PICTURE)
    layers, heads, size, _ = seen.pictures.shape
    names = ("entropy", "to_first", "to_previous", "to_self", "distance")
    columns = {name: numbers(getattr(seen, name), 4) for name in names}
    summary = [
        [{name: columns[name][layer][head] for name in names} for head in range(heads)] for layer in range(layers)
    ]
    grid = [[base64.b64encode(picture.tobytes()).decode() for picture in layer] for layer in seen.pictures]
    shape = {"layers": layers, "heads": heads, "size": size, "pool": seen.pool}
    return answer(
        {**about(model, run), "tokens": listed(run.tokenizer, ids), **shape, "grid": grid, "summary": summary}
    )


@router.post("/attention/head")
async def attention_of_head(models: Models, work: Work, question: HeadQuestion) -> Response:
    """Return the weights of one head."""
    model, run = find_model(models, question.model), await open_run(models, question.model)
    return await work.run(_attention_of_head, model, run, question)


def _attention_of_head(model: ServedModel, run: Run, question: HeadQuestion) -> Response:
    config = run.model.config
    ids = tokens_of(run.tokenizer, question, min(config.block_size, LONGEST_GRID))
    require(0 <= question.layer < config.n_layer, "layer", question.layer, f"0 to {config.n_layer - 1}")
    require(0 <= question.head < config.n_head, "head", question.head, f"0 to {config.n_head - 1}")
    weights = numbers(attention_weights(run.model, ids, question.layer)[question.head], 4)
    rows = [row[: at + 1] for at, row in enumerate(weights)]
    where = {"layer": question.layer, "head": question.head}
    return answer({**about(model, run), "tokens": listed(run.tokenizer, ids), **where, "weights": rows})


@router.post("/lens")
async def lens(models: Models, work: Work, question: LensQuestion) -> Response:
    """Return what the model would predict after each of its blocks."""
    model, run = find_model(models, question.model), await open_run(models, question.model)
    return await work.run(_lens, model, run, question)


def _lens(model: ServedModel, run: Run, question: LensQuestion) -> Response:
    ids = tokens_of(run.tokenizer, question, run.model.config.block_size)
    seen = logit_lens(run.model, ids, question.top)
    return answer(
        {
            **about(model, run),
            "tokens": listed(run.tokenizer, ids),
            "layers": ["embedding", *(f"block {block}" for block in range(run.model.config.n_layer))],
            "top": [likeliest(run.tokenizer, layer.top, layer.top_probability) for layer in seen],
            "probability": [numbers(np.exp(-layer.surprise)) for layer in seen],
            "rank": [ranks(layer.rank) for layer in seen],
            "entropy": [numbers(layer.entropy) for layer in seen],
            "kl": [numbers(layer.kl) for layer in seen],
        }
    )


@router.post("/switch_off")
async def switched_off(models: Models, work: Work, question: SwitchQuestion) -> Response:
    """Return what changes if some parts are off."""
    model, run = find_model(models, question.model), await open_run(models, question.model)
    return await work.run(_switched_off, model, run, question)


def _switched_off(model: ServedModel, run: Run, question: SwitchQuestion) -> Response:
    begun = time.perf_counter()
    parts = question.off
    require(bool(parts.heads or parts.attention or parts.mlps or parts.layers), "off", {}, "at least one part")
    ids = tokens_of(run.tokenizer, question, run.model.config.block_size)
    seen = switch_off(run.model, ids, Off(**parts.model_dump()), question.top)

    def shown(read: Readout) -> dict[str, Any]:
        surprise = numbers(np.append(np.nan, read.surprise[:-1]))
        likely = likeliest(run.tokenizer, read.top, read.top_probability)
        return {"loss": number(read.loss), "surprise": surprise, "top": likely}

    return answer(
        {
            **about(model, run),
            "tokens": listed(run.tokenizer, ids),
            "off": parts.model_dump(),
            "before": shown(seen.before),
            "after": shown(seen.after),
            "kl": numbers(seen.after.kl),
            "milliseconds": _since(begun),
        }
    )


@router.post("/switch_off/each")
async def each_switched_off(models: Models, work: Work, question: Question) -> Response:
    """Return what each part alone does to the loss of the text."""
    model, run = find_model(models, question.model), await open_run(models, question.model)
    return await work.run(_each_switched_off, model, run, question)


def _each_switched_off(model: ServedModel, run: Run, question: Question) -> Response:
    config = run.model.config
    passes = config.n_layer * (config.n_head + 3)
    ids = tokens_of(run.tokenizer, question, min(config.block_size, max(16, MOST_PASSES // passes)))
    require(len(ids) > 1, "text", question.text, "at least two tokens, so that one can be predicted")
    seen = effects(run.model, ids)
    changes = {part: numbers(getattr(seen, part)) for part in ("heads", "attention", "mlps", "layers")}
    return answer({**about(model, run), "tokens": listed(run.tokenizer, ids), "loss": number(seen.loss), **changes})


def _since(begun: float) -> float:
    return round(1000 * (time.perf_counter() - begun), 1)
