"""The generation engine that runs llama.cpp.

llama.cpp draws a few tokens at a time. Our code turns them into text, looks for stop texts and
slides the context, so that settings mean the same with both engines. llama.cpp's stream of single
tokens is not used, because it omits tokens that end inside a character.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.engine import Piece, Request, encoded
from gpt_research.generation.llama_cpp import LlamaCpp
from gpt_research.generation.sequence import Sequence

TOKENS_AT_A_TIME = 8
"""Tokens of one request to llama.cpp. A request costs about two milliseconds, so fewer tokens would
be slow. With more tokens, the text would arrive in jumps."""

LARGEST_BATCH = 16
"""The most samples that are generated at a time."""


@dataclass(frozen=True)
class Drawn:
    """A token that llama.cpp drew, with log-probabilities before temperature and filters."""

    token: int
    logprob: float = float("nan")
    alternatives: dict[int, float] | None = None


class LlamaCppEngine:
    """A loaded GGUF file. It generates as many samples at a time as llama.cpp has slots.

    Log-probabilities take time here, so they are NaN unless a request asks for them.

    Args:
        dtype: type of the file's matrices, for the description.
    """

    def __init__(self, llama: LlamaCpp, dtype: str) -> None:
        self._llama = llama
        self._waiting: OrderedDict[int, Request] = OrderedDict()
        self._live: dict[int, _Text] = {}  # by slot
        self._next_id = 0
        self._pool = ThreadPoolExecutor(llama.slots)
        threads = torch.get_num_threads()
        self.description = f"{dtype} with llama.cpp on {threads} thread{'s' * (threads > 1)}"

    def close(self) -> None:
        """Wait until no request to llama.cpp is running. Call this before llama.cpp is closed."""
        self._pool.shutdown(cancel_futures=True)

    @property
    def tokenizer(self) -> Tokenizer:
        return self._llama.tokenizer

    @property
    def block_size(self) -> int:
        return self._llama.block_size

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._live)

    def add(self, request: Request) -> int:
        """Queue a request; return its id.

        Raises:
            UserError: as `GenerationEngine.add` does, and if the prompt fills the context, because
                llama.cpp
            leaves the last position unused.
        """
        request = encoded(request, self.tokenizer, self.block_size)
        if len(request.prompt) == self.block_size:
            raise UserError(
                f"The prompt has {len(request.prompt)} tokens, and llama.cpp leaves the last of the context's "
                f"{self.block_size} unused. Keep its last {self.block_size - 1} tokens or fewer."
            )
        id, self._next_id = self._next_id, self._next_id + 1
        self._waiting[id] = request
        return id

    def cancel(self, id: int) -> None:
        """End a request without a last piece. Its slot is free immediately."""
        self._waiting.pop(id, None)
        self._live = {slot: text for slot, text in self._live.items() if text.sequence.id != id}

    def step(self) -> list[Piece]:
        """Start waiting requests if slots are free, and draw a few tokens of each sample."""
        for slot in range(self._llama.slots):
            if slot not in self._live and self._waiting:
                id, request = self._waiting.popitem(last=False)
                self._live[slot] = _Text(Sequence(id, request, self.tokenizer), self.block_size)
        pieces = []
        slots = list(self._live)
        for slot, tokens in zip(slots, self._pool.map(self._draw, slots, self._live.values()), strict=True):
            sequence = self._live[slot].sequence
            for drawn in tokens:
                if piece := sequence.take(drawn.token, drawn.logprob, drawn.alternatives):
                    pieces.append(piece)
                if not sequence.live:
                    del self._live[slot]
                    break
        return pieces

    def _draw(self, slot: int, text: _Text) -> list[Drawn]:
        """Draw the next few tokens of a text."""
        sequence, settings = text.sequence, text.sequence.settings
        window = text.window()
        written = len(sequence.tokens)
        count = min(TOKENS_AT_A_TIME, settings.max_new_tokens - written, self.block_size - len(window))
        logprobs = sequence.request.logprobs
        answer = self._llama.complete(
            window,
            count,
            id_slot=slot,
            cache_prompt=True,
            seed=seed_for(settings.seed, "sample", sequence.request.number, written) % 2**32,
            n_probs=0 if logprobs is None else max(1, logprobs),
            samplers=["penalties", "temperature", "top_k", "top_p", "min_p"],
            temperature=settings.temperature,
            top_k=min(settings.top_k, self.tokenizer.vocab_size),
            top_p=settings.top_p,
            min_p=settings.min_p,
            repeat_penalty=settings.repetition_penalty,
            repeat_last_n=self.block_size,
        )
        if logprobs is None:
            return [Drawn(token) for token in answer["tokens"]]
        return self._with_logprobs(answer, window, slot, logprobs)

    def _with_logprobs(self, answer: dict[str, Any], window: list[int], slot: int, count: int) -> list[Drawn]:
        """Return the tokens of an answer with log-probabilities, also of the `count` most
        likely.
        """
        # llama.cpp reports none for a token that leaves a character incomplete, so each of those
        # needs a request of its own.
        given = iter(answer["completion_probabilities"])
        drawn, text = [], b""
        for index, token in enumerate(answer["tokens"]):
            text += self.tokenizer.decode_bytes([token])
            entry = None if _ends_inside_character(text) else next(given, None)
            if entry is not None and entry["id"] == token:
                logprob = float(entry["logprob"])
                likeliest = {other["id"]: float(other["logprob"]) for other in entry["top_logprobs"][:count]}
            else:
                before = window + answer["tokens"][:index]
                scores = self._llama.next_log_probs(before, id_slot=slot, cache_prompt=True)
                logprob = float(scores[token])
                best = scores.topk(min(count, len(scores)))
                likeliest = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            drawn.append(Drawn(token, logprob, likeliest if count else None))
        return drawn


class _Text:
    """A sequence, and the index of its token at which the context of the model begins."""

    def __init__(self, sequence: Sequence, block_size: int) -> None:
        self.sequence, self._block_size = sequence, block_size
        self._begin = 0

    def window(self) -> list[int]:
        """Return the tokens that the model sees; drop the older half if they fill the context."""
        tokens = self.sequence.prompt + self.sequence.tokens
        if len(tokens) - self._begin == self._block_size:
            self._begin += self._block_size - self._block_size // 2
            self.sequence.slid = True
        return tokens[self._begin :]


def _ends_inside_character(text: bytes) -> bool:
    """Return whether the last character of UTF-8 bytes is incomplete."""
    # A character has at most four bytes; all but the first begin with the bits 10. The leading ones
    # of the first byte say how many bytes there are.
    for length in range(1, min(3, len(text)) + 1):
        byte = text[-length]
        if byte >> 6 != 0b10:
            return length < (
                2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            )
    return False
