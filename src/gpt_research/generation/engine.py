"""What every generation engine offers: requests go in, pieces of text come out, one step at a time.

A request is one sample with settings of its own. Requests join a running batch and leave it when they end, and neither
changes what the others get. `TorchEngine` and `LlamaCppEngine` are the two engines. Knows nothing about models.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gpt_research.base.errors import UserError
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer

Ended = Literal["stop", "end_of_text", "length"]


@dataclass(frozen=True)
class Request:
    """One sample to write."""

    prompt: str | Sequence[int]
    """Text or token ids. An empty one begins a document, after `<|endoftext|>`."""
    settings: GenerateConfig = field(default_factory=GenerateConfig)
    """How to draw. `num_samples` is not read, because a request is one sample."""
    number: int = 0
    """Which of the samples of its prompt it is: seed and number fix the random stream."""
    logprobs: int | None = None
    """Most likely tokens to report beside each token drawn. With None an engine may leave log-probabilities out."""


@dataclass(frozen=True)
class Sample:
    """One finished text."""

    text: str
    """What follows the prompt, up to a stop text or `<|endoftext|>`."""
    tokens: list[int]
    """Every token drawn, those of the stop text and `<|endoftext|>` included."""
    logprobs: list[float]
    """Natural logarithm of each token's probability in the model, before temperature and filters."""
    ended: Ended
    """A stop text, the end-of-text token, or max_new_tokens."""


@dataclass(frozen=True)
class Piece:
    """What one sample grew by."""

    id: int
    """The request, as `add` numbered it."""
    text: str
    """Whole characters. Only a sample's last piece may be empty."""
    tokens: list[int]
    """The tokens drawn since the sample's last piece. Some of their text may still be held back."""
    logprobs: list[float]
    """One for each token, as in `Sample`."""
    alternatives: list[dict[int, float]]
    """For each token the log-probabilities of the most likely ones; empty if the request asks for none."""
    slid: bool
    """True once the text has outgrown the context, so that the model no longer sees its beginning."""
    sample: Sample | None = None
    """The finished sample, in its last piece only."""


class GenerationEngine(Protocol):
    """A loaded model that writes for many requests at a time. One thread at a time may call it."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def block_size(self) -> int:
        """Longest context, in tokens."""
        ...

    @property
    def description(self) -> str:
        """Arithmetic and machine, for people."""
        ...

    @property
    def busy(self) -> bool:
        """True while a request waits or is being written."""
        ...

    def add(self, request: Request) -> int:
        """Queue a request; return its id. Ids count up from 0.

        Raises:
            UserError: the prompt is longer than the context, or holds ids that the tokenizer does not have.
        """
        ...

    def step(self) -> list[Piece]:
        """Let waiting requests join, and write on every sample; return what came of it, often nothing."""
        ...

    def cancel(self, id: int) -> None:
        """End a request without a last piece. Nothing happens if it has ended already."""
        ...


def stream_samples(
    engine: GenerationEngine,
    prompts: str | Sequence[str],
    config: GenerateConfig,
    *,
    logprobs: int | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[Piece]:
    """Write `config.num_samples` samples for each prompt, prompt by prompt, with an engine that has nothing else to do.

    Samples that are not finished when the iterator is closed are cancelled.

    Args:
        notice: takes the sentence that says, once, that a text outgrew the context.

    Raises:
        UserError: at once, as `GenerationEngine.add` does.
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
                        f"The text outgrew the context of {engine.block_size} tokens: from here on the model sees only "
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
        UserError: it is longer than the context, or holds ids that the tokenizer does not have.
    """
    tokens = (tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)) or [tokenizer.end_of_text]
    if len(tokens) > block_size:
        raise UserError(
            f"The prompt has {len(tokens)} tokens, but the model's context holds {block_size}. "
            f"Keep its last {block_size} tokens or fewer."
        )
    if not isinstance(prompt, str):
        tokenizer.decode_bytes(tokens)  # raises for an id out of range
    return tokens


def encoded(request: Request, tokenizer: Tokenizer, block_size: int) -> Request:
    """Return a request with its prompt as token ids; raises as `encode_prompt` does."""
    return dataclasses.replace(request, prompt=encode_prompt(tokenizer, block_size, request.prompt))
