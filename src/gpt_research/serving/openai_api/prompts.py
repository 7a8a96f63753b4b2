"""From the prompts of a request to token ids, with every limit checked before work is done."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_research.base.errors import UserError
from gpt_research.generation.engine import GenerationEngine
from gpt_research.serving.errors import ApiError
from gpt_research.serving.openai_api.schemas import MOST_SAMPLES, CompletionRequest
from gpt_research.serving.worker import Worker

QUICK_CHARACTERS = 10_000
"""Texts of so many characters become tokens in the event loop, in less time than it takes to wake
the worker."""

Prompt = str | list[int]


async def encode_prompts(asked: CompletionRequest, engine: GenerationEngine, worker: Worker) -> list[list[int]]:
    """Return the token ids of each prompt, at least one.

    Raises:
        ApiError: 400, there are too many samples, or a prompt is too long or has no tokens here.
    """
    prompts = prompts_of(asked)
    if len(prompts) * asked.samples > MOST_SAMPLES:
        raise ApiError(
            400,
            f"{len(prompts)} prompts with {asked.samples} samples each are more than the {MOST_SAMPLES} samples that "
            "a request may ask for. Send several requests.",
            param="n" if asked.samples > 1 else "prompt",
        )
    # Scoring does not read the last token.
    scores = bool(asked.echo) and asked.logprobs is not None
    try:
        characters = sum(len(prompt) for prompt in prompts if isinstance(prompt, str))
        if characters <= QUICK_CHARACTERS:
            return [encode(engine, prompt, scores) for prompt in prompts]
        for prompt in prompts:
            check_length(engine, prompt)
        return await worker.run(lambda: [encode(engine, prompt, scores) for prompt in prompts])
    except UserError as error:
        raise ApiError(400, str(error), param="prompt") from None


def prompts_of(asked: CompletionRequest) -> Sequence[Prompt]:
    """Return the prompts of a request as a list, each a text or token ids."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt[0], int):
        return [[token for token in prompt if isinstance(token, int)]]
    return [part for part in prompt if not isinstance(part, int)]


def check_length(engine: GenerationEngine, prompt: Prompt) -> None:
    """Check a prompt's length as far as it can be done without encoding it, which may take long.

    Raises:
        UserError: the prompt cannot fit the context.
    """
    longest_token = int(engine.tokenizer.byte_lengths.max())
    if isinstance(prompt, str) and len(prompt) > (engine.block_size + 1) * longest_token:
        raise UserError(
            f"The prompt has {len(prompt):,} characters, but the model's context holds {engine.block_size} tokens. "
            "Keep its end."
        )


def encode(engine: GenerationEngine, prompt: Prompt, scores: bool) -> list[int]:
    """Return the token ids of a prompt.

    Args:
        scores: the prompt is scored, and so it may be one token longer than the context.

    Raises:
        UserError: it is longer, or has an id or a character that the vocabulary lacks.
    """
    check_length(engine, prompt)
    tokenizer = engine.tokenizer
    tokens = (tokenizer.encode(prompt) if isinstance(prompt, str) else prompt) or [tokenizer.end_of_text]
    if len(tokens) > engine.block_size + scores:
        raise UserError(
            f"The prompt has {len(tokens):,} tokens, but the model's context holds {engine.block_size}. "
            f"Keep its last {engine.block_size} tokens or fewer."
        )
    tokenizer.decode_bytes(tokens)  # this raises for an id out of range
    return tokens
