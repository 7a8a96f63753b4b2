"""`/tokenize`, `/detokenize`, `/tokenizer_info`: the tokenizer of a model, as vLLM offers it.

lm-eval looks for these addresses, and then needs no tokenizer of its own.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, StrictInt

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.models import Models
from gpt_research.serving.texts import WHOLE
from gpt_research.serving.worker import Work

MOST_CHARACTERS = 1_000_000
router = APIRouter(tags=["tokenizer"], route_class=WhileConnected)


class TokenizeRequest(BaseModel):
    """A text to encode. The name of a special token alone, such as <|endoftext|>, is that token."""

    model: str = ""
    prompt: Annotated[str, Field(max_length=MOST_CHARACTERS), WHOLE]
    add_special_tokens: bool = False
    """Changes nothing: our tokenizers add no tokens."""


class Tokens(BaseModel):
    """The tokens of a text."""

    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizeRequest(BaseModel):
    """Tokens to decode."""

    model: str = ""
    tokens: list[Annotated[StrictInt, Field(ge=0)]] = Field(max_length=MOST_CHARACTERS)


class Text(BaseModel):
    """The text of tokens; bytes that are not UTF-8 become U+FFFD."""

    prompt: str


class TokenizerInfo(BaseModel):
    """What a client must know of a tokenizer."""

    tokenizer_class: str = "PreTrainedTokenizerFast"
    eos_token: str
    bos_token: str | None = None
    vocab_size: int
    model_max_length: int


@router.post("/tokenize")
async def tokenize(asked: TokenizeRequest, models: Models, work: Work) -> Tokens:
    """Return the token ids of a text."""
    engine = await models.engines.get(models.find(asked.model))
    tokens = await work.run(_encode, engine.tokenizer, asked.prompt)
    return Tokens(tokens=tokens, count=len(tokens), max_model_len=engine.block_size)


@router.post("/detokenize")
async def detokenize(asked: DetokenizeRequest, models: Models) -> Text:
    """Return the text of token ids."""
    engine = await models.engines.get(models.find(asked.model))
    return Text(prompt=engine.tokenizer.decode(asked.tokens))


@router.get("/tokenizer_info")
async def tokenizer_info(models: Models, model: str = "") -> TokenizerInfo:
    """Return the end-of-text token and the sizes."""
    engine = await models.engines.get(models.find(model))
    tokenizer = engine.tokenizer
    return TokenizerInfo(
        eos_token=tokenizer.vocabulary.end_of_text,
        vocab_size=tokenizer.vocab_size,
        model_max_length=engine.block_size,
    )


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    special = tokenizer.vocabulary.specials.get(text)
    return tokenizer.encode(text) if special is None else [special]
