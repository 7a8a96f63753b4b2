"""From the pieces of a batch to the JSON of `/v1/completions`, whole or chunk by chunk."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gpt_research.generation.engine import GenerationEngine, Piece, Request
from gpt_research.serving.batch import Fresh
from gpt_research.serving.openai_api.prompt_scores import PromptScores
from gpt_research.serving.openai_api.prompts import Prompt
from gpt_research.serving.openai_api.schemas import CompletionRequest
from gpt_research.serving.openai_api.token_report import TokenReport

FINISH = {"stop": "stop", "end_of_text": "stop", "length": "length"}
"""OpenAI's word for why a sample ended."""
Json = dict[str, Any]


class Answer:
    """One answer while it is written. The choices are numbered prompt by prompt.

    Args:
        prompts: as they were asked.
        tokens: of each prompt.
        scores: of each prompt, if they were asked for.
    """

    def __init__(
        self,
        asked: CompletionRequest,
        name: str,
        engine: GenerationEngine,
        prompts: Sequence[Prompt],
        tokens: Sequence[list[int]],
        scores: Sequence[PromptScores] | None,
    ) -> None:
        self._asked, self.engine = asked, engine
        self._prompts, self._tokens, self._scores = prompts, tokens, scores
        self._frame: Json = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
        }
        self._reports = [
            TokenReport(engine.tokenizer, with_ids=asked.return_token_ids) for _ in tokens for _ in range(asked.samples)
        ]
        self._written = 0
        """Tokens of all samples."""

    def requests(self) -> list[Request]:
        """Return what the engine must do, choice by choice."""
        config = self._asked.generate_config(secrets.randbits(62))
        return [
            Request(_in_context(tokens, self.engine.block_size), config, number, self._asked.logprobs)
            for tokens in self._tokens
            for number in range(self._asked.samples)
        ]

    def without_samples(self) -> bytes:
        """Return the answer to a request for 0 tokens."""
        choices = [{**self._start(index), "finish_reason": "length"} for index in range(len(self._reports))]
        return self._json(choices, self._usage())

    def whole(self, fresh: Fresh) -> bytes:
        """Return the answer, from all pieces."""
        pieces: list[list[Piece]] = [[] for _ in self._reports]
        for index, piece in fresh:
            pieces[index].append(piece)
        choices = [_joined([self._start(index), self._piece(index, own)]) for index, own in enumerate(pieces)]
        return self._json(choices, self._usage())

    def first_events(self) -> bytes:
        """Return the first events of a stream, which hold the prompts if they are echoed."""
        if not self._asked.echo:
            return b""
        return b"".join(self._event([self._start(index)]) for index in range(len(self._reports)))

    def events(self, fresh: Fresh) -> bytes:
        """Return the events of new pieces, one for each choice that has any."""
        if len(fresh) == 1:
            ((index, piece),) = fresh
            return self._event([self._piece(index, [piece])])
        pieces: dict[int, list[Piece]] = {}
        for index, piece in fresh:
            pieces.setdefault(index, []).append(piece)
        return b"".join(self._event([self._piece(index, own)]) for index, own in pieces.items())

    def last_events(self) -> bytes:
        """Return the end of a stream."""
        options = self._asked.stream_options
        usage = options is not None and options.include_usage
        return (self._event([], self._usage()) if usage else b"") + b"data: [DONE]\n\n"

    def _start(self, index: int) -> Json:
        """Return a choice without new tokens; it holds the prompt if that is echoed."""
        asked, prompt = self._asked, index // self._asked.samples
        tokens, scores = self._tokens[prompt], self._scores[prompt] if self._scores else None
        choice: Json = {"index": index, "text": "", "logprobs": None, "finish_reason": None}
        if asked.return_token_ids:
            choice |= {"token_ids": [], "prompt_token_ids": tokens}
        if asked.echo:
            text = self._prompts[prompt]
            choice["text"] = text if isinstance(text, str) else self.engine.tokenizer.decode(tokens)
        if scores is not None:
            report = self._reports[index]
            choice["logprobs"] = report.write(tokens, [None, *scores.logprobs], [None, *scores.alternatives])
        return choice

    def _piece(self, index: int, pieces: Sequence[Piece]) -> Json:
        """Return a choice with the new pieces of a sample."""
        last = pieces[-1].sample
        choice: Json = {
            "index": index,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": None,
            "finish_reason": FINISH[last.ended] if last else None,
        }
        tokens = _together(piece.tokens for piece in pieces)
        self._written += len(tokens)
        if self._asked.logprobs is not None:
            logprobs = _together(piece.logprobs for piece in pieces)
            alternatives = _together(piece.alternatives for piece in pieces)
            choice["logprobs"] = self._reports[index].write(tokens, logprobs, alternatives)
        if self._asked.return_token_ids:
            choice["token_ids"] = tokens
        return choice

    def _usage(self) -> Json:
        read = sum(map(len, self._tokens))
        return {
            "prompt_tokens": read,
            "completion_tokens": self._written,
            "total_tokens": read + self._written,
        }

    def _json(self, choices: list[Json], usage: Json | None) -> bytes:
        return orjson.dumps({**self._frame, "choices": choices, "usage": usage})

    def _event(self, choices: list[Json], usage: Json | None = None) -> bytes:
        return b"data: " + self._json(choices, usage) + b"\n\n"


def _in_context(tokens: list[int], block_size: int) -> list[int]:
    """Return a prompt that may be one token too long as an engine goes on with such a text."""
    return tokens if len(tokens) <= block_size else tokens[-(block_size // 2 + 1) :]


def _together(lists: Iterable[list[Any]]) -> list[Any]:
    return [entry for part in lists for entry in part]


def _joined(parts: Sequence[Json]) -> Json:
    """Return one choice of its consecutive parts."""
    first, *others = parts
    for other in others:
        first["text"] += other["text"]
        first["finish_reason"] = other["finish_reason"]
        if other["logprobs"] is not None:
            kept = first["logprobs"] or {name: [] for name in other["logprobs"]}
            first["logprobs"] = {name: kept[name] + values for name, values in other["logprobs"].items()}
        if "token_ids" in other:
            first["token_ids"] = first["token_ids"] + other["token_ids"]
    return first
