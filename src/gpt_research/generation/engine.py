"""The interface of a generation engine: requests go in, pieces of text come out, step by step.

A request asks for one sample and has its own settings. Requests join a running batch and leave it
when they end. Neither changes the text of the other requests. `TorchEngine` and `LlamaCppEngine`
implement the interface. This module knows nothing about models.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from gpt_research.base.errors import UserError
from gpt_research.config import GenerateConfig

if TYPE_CHECKING:
    from gpt_research.data.tokenizer import Tokenizer

Ended = Literal["stop", "end_of_text", "length"]


@dataclass(frozen=True)
class Request:
    """One sample to write."""

    prompt: str | Sequence[int]
    """Text or token ids. If it is empty, the sample begins a document, after `<|endoftext|>`."""
    settings: GenerateConfig = field(default_factory=GenerateConfig)
    """How tokens are drawn. `num_samples` is ignored, because a request is one sample."""
    number: int = 0
    """Index among the samples of one prompt. The seed and this number fix the random stream."""
    logprobs: int | None = None
    """How many of the most likely tokens to report beside each token drawn. If it is None, an
    engine may leave out log-probabilities."""


@dataclass(frozen=True)
class Sample:
    """One finished text."""

    text: str
    """The text after the prompt, up to a stop text or `<|endoftext|>`."""
    tokens: list[int]
    """Every token drawn, including the tokens of the stop text and `<|endoftext|>`."""
    logprobs: list[float]
    """Natural logarithm of each token's probability in the model, before temperature and
    filters."""
    ended: Ended
    """Why the sample ended: at a stop text, at the end-of-text token, or at max_new_tokens."""


@dataclass(frozen=True)
class Piece:
    """The newest part of one sample."""

    id: int
    """The id that `add` returned for the request."""
    text: str
    """Whole characters. Only the last piece of a sample may have none."""
    tokens: list[int]
    """The tokens drawn since the previous piece of the sample. Some of their text may come
    later."""
    logprobs: list[float]
    """The log-probability of each token, as in `Sample`."""
    alternatives: list[dict[int, float]]
    """The log-probabilities of the most likely tokens at each token. Empty unless the request asks
    for them."""
    slid: bool
    """True once the text is longer than the context and the model no longer sees its beginning."""
    sample: Sample | None = None
    """The finished sample. Only the last piece has it."""


class GenerationEngine(Protocol):
    """A loaded model that generates text for many requests at a time. It is not thread-safe."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def block_size(self) -> int:
        """Longest context, in tokens."""
        ...

    @property
    def description(self) -> str:
        """Precision and device, in words."""
        ...

    @property
    def busy(self) -> bool:
        """True while a request is waiting or running."""
        ...

    def add(self, request: Request) -> int:
        """Queue a request; return its id. Ids count up from 0.

        Raises:
            UserError: the prompt is longer than the context, or has ids that the tokenizer lacks.
        """
        ...

    def step(self) -> list[Piece]:
        """Start waiting requests if there is room, and draw tokens for every sample.

        Returns:
            The new pieces. There may be none, because some tokens do not complete a character.
        """
        ...

    def cancel(self, id: int) -> None:
        """End a request without a last piece. A request that has already ended is ignored."""
        ...


def stream_samples(
    engine: GenerationEngine,
    prompts: str | Sequence[str | list[int]],
    config: GenerateConfig,
    *,
    logprobs: int | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[Piece]:
    """Yield the pieces of `config.num_samples` samples for each prompt, prompt by prompt.

    The engine must be idle. If the iterator is closed early, the unfinished samples are cancelled.

    Args:
        prompts: one text, or several prompts, each text or token ids.
        logprobs: as in `Request`.
        notice: is called once, with a sentence for the user, if a text outgrows the context.

    Raises:
        UserError: at the call, as `GenerationEngine.add` does.
    """
    texts = [prompts] if isinstance(prompts, str) else prompts
    encoded = [encode_prompt(engine.tokenizer, engine.block_size, text) for text in texts]
    numbered = itertools.product(encoded, range(config.num_samples))
    ids = [engine.add(Request(tokens, config, number, logprobs)) for tokens, number in numbered]
    return _pieces(engine, set(ids), notice)


def _pieces(engine: GenerationEngine, unfinished: set[int], notice: Callable[[str], None]) -> Iterator[Piece]:
    noticed = False
    try:
        while unfinished:
            for piece in engine.step():
                if piece.slid and not noticed:
                    noticed = True
                    notice(
                        f"The text outgrew the context of {engine.block_size} tokens: beyond it the model sees only "
                        f"the newest {engine.block_size // 2} to {engine.block_size}."
                    )
                if piece.sample is not None:
                    unfinished.discard(piece.id)
                yield piece
    finally:
        for id in unfinished:
            engine.cancel(id)


def encode_prompt(tokenizer: Tokenizer, block_size: int, prompt: str | Sequence[int]) -> list[int]:
    """Return a prompt's tokens, at least one.

    Raises:
        UserError: the prompt is longer than the context, or has ids that the tokenizer lacks.
    """
    tokens = (tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)) or [tokenizer.end_of_text]
    if len(tokens) > block_size:
        raise UserError(
            f"The prompt has {len(tokens)} tokens, but the model's context holds {block_size}. "
            f"Keep its last {block_size} tokens or fewer."
        )
    if not isinstance(prompt, str):
        tokenizer.decode_bytes(tokens)  # this raises for an id out of range
    return tokens


def encoded(request: Request, tokenizer: Tokenizer, block_size: int) -> Request:
    """Return the request with its prompt as token ids.

    Raises:
        UserError: as `encode_prompt` does.
    """
    return dataclasses.replace(request, prompt=encode_prompt(tokenizer, block_size, request.prompt))
