"""From prompts to text: read the prompts once, then one token a step, with a static KV cache.

    prompts -> tokens -> prefill -> (choose a token -> text -> decode one step) until every sample has ended

A sample depends on the weights, its prompt, the settings and its number, never on its batch: it has its own
random stream, keyed by (seed, number among the samples of its prompt), and its own place in the cache. Text longer
than the context slides: the older half of the window is dropped and the newer half read again, so that a token
costs two positions on average at most.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.config import GenerateConfig, GPTConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.sampling import choose
from gpt_research.generation.text_stream import TextStream
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import KVCache

Ended = Literal["stop", "end_of_text", "length"]

LARGEST_CACHE = 4 << 30
"""Bytes of keys and values at a time; more samples than fit are written one batch after another."""


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
    """Text that one sample grew by."""

    index: int
    """Which sample: `prompt * num_samples + number`."""
    text: str
    """Whole characters, never empty but in a last piece."""
    sample: Sample | None = None
    """The finished sample, in its last piece only."""


def say(message: str) -> None:
    """Tell the user on standard error."""
    print(message, file=sys.stderr, flush=True)


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str],
    config: GenerateConfig | None = None,
    *,
    notice: Callable[[str], None] = say,
) -> list[Sample]:
    """Return `config.num_samples` samples for each prompt, prompt by prompt.

    Raises:
        UserError: as `stream` does.
    """
    pieces = stream(model, tokenizer, prompts, config, notice=notice)
    samples = {piece.index: piece.sample for piece in pieces if piece.sample is not None}
    return [samples[index] for index in sorted(samples)]


def stream(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str],
    config: GenerateConfig | None = None,
    *,
    notice: Callable[[str], None] = say,
) -> Iterator[Piece]:
    """Yield the pieces of all samples as they are written.

    Args:
        prompts: one or many; an empty one begins a document, after `<|endoftext|>`.
        notice: takes the sentence that says, once, that the text outgrows the context.

    Raises:
        UserError: at once, for a prompt longer than the context or a tokenizer that is not the model's.
    """
    config = config or GenerateConfig()
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    encoded = [encode_prompt(model.config, tokenizer, text) for text in texts]
    samples = [
        Writing(index, tokens, config, number, tokenizer)
        for index, (tokens, number) in enumerate(itertools.product(encoded, range(config.num_samples)))
    ]
    return _write_all(_Engine(model, config, notice), samples)


def encode_prompt(config: GPTConfig, tokenizer: Tokenizer, text: str) -> list[int]:
    """Return a prompt's tokens, at least one.

    Raises:
        UserError: it is longer than the context, or the tokenizer is not the model's.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"The tokenizer has {tokenizer.vocab_size} entries, but the model {config.vocab_size}. "
            "Use the tokenizer that the model was trained with."
        )
    tokens = tokenizer.encode(text) or [tokenizer.end_of_text]
    if len(tokens) > config.block_size:
        raise UserError(
            f"The prompt has {len(tokens)} tokens, but the model's context holds {config.block_size}. "
            f"Keep its last {config.block_size} tokens or fewer."
        )
    return tokens


def outgrown(block_size: int) -> str:
    """Return the sentence that says what happens to a text longer than the context."""
    return (
        f"The text outgrew the context of {block_size} tokens: from here on the model sees only the newest "
        f"{block_size // 2} to {block_size}."
    )


@dataclass
class Writing:
    """A sample that is being written, by whatever program draws its tokens."""

    index: int
    prompt: list[int]
    config: GenerateConfig
    number: int
    tokenizer: Tokenizer
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: Ended | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(seed_for(self.config.seed, "sample", self.number))
        self.stream = TextStream(self.tokenizer, self.config.stop)
        self.texts: list[str] = []

    def take(self, token: int, logprob: float) -> Piece | None:
        """Add a token; return the text that it brings, if any."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        text = ""
        if token == self.tokenizer.end_of_text:
            self.ended = "end_of_text"
        else:
            text = self.stream.push(token)
            if self.stream.stopped:
                self.ended = "stop"
            elif len(self.tokens) == self.config.max_new_tokens:
                self.ended = "length"
        if self.ended:
            text += self.stream.flush()
        self.texts.append(text)
        if self.ended:
            sample = Sample("".join(self.texts), self.tokens, self.logprobs, self.ended)
            return Piece(self.index, text, sample)
        return Piece(self.index, text) if text else None


class _Engine:
    """The model at work on one batch after another: prefill and decode."""

    def __init__(self, model: GPT, config: GenerateConfig, notice: Callable[[str], None]) -> None:
        weight = model.token_embedding.weight
        self.model, self.config, self.notice = model, config, notice
        self.device, self.dtype = weight.device, weight.dtype
        self.slid = False

    def batches(self, samples: list[Writing]) -> Iterator[list[Writing]]:
        """Cut the samples into batches whose cache fits."""
        shape = self.model.config
        row_bytes = 2 * shape.n_layer * shape.n_embd * shape.block_size * self.dtype.itemsize
        size = max(1, LARGEST_CACHE // row_bytes)
        yield from (samples[begin : begin + size] for begin in range(0, len(samples), size))

    def prefill(self, prompts: Sequence[Sequence[int]], capacity: int) -> tuple[KVCache, torch.Tensor]:
        """Read prompts, padded on the right; return their cache and the final hidden states (B, C)."""
        lengths = [len(prompt) for prompt in prompts]
        tokens = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = torch.tensor(prompt)
        cache = self.model.new_cache(len(prompts), capacity)
        h = self.model.hidden(tokens.to(self.device), cache)  # (B, T, C)
        cache.truncate(lengths)
        return cache, h[torch.arange(len(prompts)), torch.tensor(lengths) - 1]

    def start(self, samples: list[Writing]) -> tuple[KVCache, torch.Tensor]:
        """Read each different prompt once; return a cache with a row a sample, and their logits (B, V)."""
        longest = max(len(sample.prompt) for sample in samples)
        prompts = list(dict.fromkeys(tuple(sample.prompt) for sample in samples))
        cache, h = self.prefill(prompts, longest + self.config.max_new_tokens)
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        rows = [row_of[tuple(sample.prompt)] for sample in samples]
        if rows != list(range(len(prompts))):
            cache.select(rows)
        return cache, self.logits(h[rows])

    def decode(self, tokens: torch.Tensor, cache: KVCache, samples: list[Writing]) -> torch.Tensor:
        """Read one token more for each sample, (B,); return the logits of the next, (B, V)."""
        full = [row for row, length in enumerate(cache.lengths) if length == self.model.config.block_size]
        if full:
            self.slide(cache, full, samples)
        return self.logits(self.model.hidden(tokens.to(self.device)[:, None], cache)[:, -1])

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Return fp32 logits (B, V) of hidden states (B, C), where a token can be chosen from them."""
        logits = self.model.logits(h).float()
        return logits.cpu() if logits.device.type == "mps" else logits  # the draw needs float64

    def slide(self, cache: KVCache, rows: list[int], samples: list[Writing]) -> None:
        """Drop the older half of these rows' context and read the newer half again, from position 0."""
        kept = self.model.config.block_size // 2
        if not self.slid:
            self.slid = True
            self.notice(outgrown(self.model.config.block_size))
        for row in rows:
            cache.lengths[row] = 0
        if kept:  # the newest token is not in the cache yet
            texts = [(samples[row].prompt + samples[row].tokens)[:-1][-kept:] for row in rows]
            cache.replace(rows, self.prefill(texts, kept)[0])


@torch.inference_mode()
def _write_all(engine: _Engine, samples: list[Writing]) -> Iterator[Piece]:
    was_training = engine.model.training
    engine.model.eval()
    try:
        for batch in engine.batches(samples):
            yield from _write(engine, batch)
    finally:
        engine.model.train(was_training)


def _write(engine: _Engine, samples: list[Writing]) -> Iterator[Piece]:
    """Write one batch to its end."""
    config, vocab_size = engine.config, samples[0].tokenizer.vocab_size
    cache, logits = engine.start(samples)
    seen = _seen(samples, logits) if config.repetition_penalty != 1 else None
    while True:
        logits = logits[:, :vocab_size]
        uniforms = torch.tensor([sample.random.random() for sample in samples], dtype=torch.float64)
        tokens = choose(logits, config, uniforms.to(logits.device), seen)  # (B,)
        logprobs = logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(1)
        for sample, token, logprob in zip(samples, tokens.tolist(), logprobs.tolist(), strict=True):
            if not sample.ended and (piece := sample.take(token, logprob)):
                yield piece
        live = [row for row, sample in enumerate(samples) if not sample.ended]
        if not live:
            return
        if seen is not None:
            seen.scatter_(1, tokens[:, None], True)
        if 2 * len(live) <= len(samples):  # moving the cache costs a copy; halving makes that a rare one
            samples = [samples[row] for row in live]
            cache.select(live)
            tokens, seen = tokens[live], None if seen is None else seen[live]
        logits = engine.decode(tokens, cache, samples)


def _seen(samples: list[Writing], logits: torch.Tensor) -> torch.Tensor:
    """Return (B, V) True where a sample's prompt holds the token."""
    seen = torch.zeros(len(samples), samples[0].tokenizer.vocab_size, dtype=torch.bool, device=logits.device)
    for row, sample in enumerate(samples):
        seen[row, sample.prompt] = True
    return seen
