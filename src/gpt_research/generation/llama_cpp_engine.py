"""llama.cpp as the engine of `generate`.

llama.cpp draws the tokens, some at a time; turning them into text, stop texts and the sliding of the context are
ours, so that a sample means the same with either engine. Its stream of single tokens is not used: that leaves out
those inside a character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.config import GenerateConfig, GPTConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.llama_cpp import LlamaCpp
from gpt_research.generation.torch_engine import Piece, Writing, encode_prompt, outgrown, say

TOKENS_AT_A_TIME = 8
"""A question costs about two milliseconds, so fewer are slow; more would make the text come in jumps."""

LARGEST_BATCH = 16
"""Samples that are written at a time."""


class LlamaCppEngine:
    """A GGUF file in llama.cpp.

    Args:
        dtype: type of the file's matrices.
        slots: samples that `llama` can write at a time.
        logprobs: give each token's log-probability, which costs time; else they are NaN.
    """

    def __init__(
        self,
        llama: LlamaCpp,
        config: GPTConfig,
        dtype: str,
        slots: int,
        *,
        logprobs: bool = False,
        notice: Callable[[str], None] = say,
    ) -> None:
        self._llama, self._config, self._slots = llama, config, slots
        self._logprobs, self._notice = logprobs, notice
        threads = torch.get_num_threads()
        self.description = f"{dtype} with llama.cpp on {threads} thread{'s' * (threads > 1)}"

    @property
    def tokenizer(self) -> Tokenizer:
        return self._llama.tokenizer

    @property
    def block_size(self) -> int:
        return self._config.block_size

    def stream(self, prompt: str, config: GenerateConfig) -> Iterator[Piece]:
        """Yield the pieces of all samples as they are written.

        Raises:
            UserError: at once, for a prompt that llama.cpp's context does not hold.
        """
        tokens = encode_prompt(self._config, self.tokenizer, prompt)
        if len(tokens) == self.block_size:
            raise UserError(
                f"The prompt has {len(tokens)} tokens, and llama.cpp leaves the last of the context's "
                f"{self.block_size} unused. Keep its last {self.block_size - 1} tokens or fewer."
            )
        return self._write_all(tokens, config)

    def _write_all(self, prompt: list[int], config: GenerateConfig) -> Iterator[Piece]:
        numbers = iter(range(config.num_samples))
        live: dict[int, _Text] = {}
        slid = False
        with ThreadPoolExecutor(self._slots) as pool:
            while True:
                for slot in range(self._slots):
                    if slot not in live and (number := next(numbers, None)) is not None:
                        live[slot] = _Text(Writing(number, prompt, config, number, self.tokenizer))
                if not live:
                    return
                if not slid and any(text.length == self.block_size for text in live.values()):
                    slid = True
                    self._notice(outgrown(self.block_size))
                drawn = pool.map(self._draw, live, list(live.values()))
                for (slot, text), pairs in zip(list(live.items()), drawn, strict=True):
                    for token, logprob in pairs:
                        if piece := text.writing.take(token, logprob):
                            yield piece
                        if text.writing.ended:
                            del live[slot]
                            break

    def _draw(self, slot: int, text: _Text) -> list[tuple[int, float]]:
        """Return the next few tokens of a text, with their log-probabilities."""
        writing, config = text.writing, text.writing.config
        window = text.window(self.block_size)
        written = len(writing.tokens)
        count = min(TOKENS_AT_A_TIME, config.max_new_tokens - written, self.block_size - len(window))
        answer = self._llama.complete(
            window,
            count,
            id_slot=slot,
            cache_prompt=True,
            seed=seed_for(config.seed, "sample", writing.number, written) % 2**32,
            n_probs=int(self._logprobs),
            samplers=["penalties", "temperature", "top_k", "top_p", "min_p"],
            temperature=config.temperature,
            top_k=min(config.top_k, self.tokenizer.vocab_size),
            top_p=config.top_p,
            min_p=config.min_p,
            repeat_penalty=config.repetition_penalty,
            repeat_last_n=self.block_size,
        )
        tokens = answer["tokens"]
        if not self._logprobs:
            return [(token, float("nan")) for token in tokens]
        return list(zip(tokens, self._logprobs_of(tokens, window, slot, answer), strict=True))

    def _logprobs_of(self, tokens: list[int], window: list[int], slot: int, answer: dict[str, Any]) -> list[float]:
        """Return each token's log-probability before temperature and filters.

        llama.cpp gives none for a token that leaves a character incomplete: those are asked for singly.
        """
        given = iter(answer["completion_probabilities"])
        found, text = [], b""
        for place, token in enumerate(tokens):
            text += self.tokenizer.decode_bytes([token])
            entry = None if _ends_inside_character(text) else next(given, None)
            if entry is not None and entry["id"] == token:
                found.append(float(entry["logprob"]))
            else:
                settings = {"id_slot": slot, "cache_prompt": True}
                found.append(float(self._llama.next_log_probs(window + tokens[:place], **settings)[token]))
        return found


class _Text:
    """A sample and the part of it that the model sees."""

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        self._begin = 0

    @property
    def length(self) -> int:
        """Tokens since the window's begin."""
        return len(self.writing.prompt) + len(self.writing.tokens) - self._begin

    def window(self, block_size: int) -> list[int]:
        """Return the tokens to go on from; where they fill the context, its older half is dropped."""
        if self.length == block_size:
            self._begin += block_size - block_size // 2
        return (self.writing.prompt + self.writing.tokens)[self._begin :]


def _ends_inside_character(text: bytes) -> bool:
    """Say whether bytes end with the beginning of a character of UTF-8."""
    for length in range(1, min(3, len(text)) + 1):
        byte = text[-length]
        if byte >> 6 != 0b10:
            return length < (
                2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            )
    return False
