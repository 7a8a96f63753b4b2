"""From logits to draws, for rows with settings of their own.

Shapes: B rows, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

from gpt_research.config import GenerateConfig
from gpt_research.generation.sampling import choose_by_row, rows_by_settings


class Draw(NamedTuple):
    """A token that was drawn for one row."""

    token: int
    logprob: float
    alternatives: Mapping[int, float] | None = None
    """The log-probabilities of the likeliest tokens, if the row asks for them."""


class Row(Protocol):
    """What a draw needs to know of the text in a row; a `sequence.Sequence` has it."""

    settings: GenerateConfig
    prompt: list[int]
    tokens: list[int]
    alternatives: int
    live: bool

    @property
    def newest(self) -> int: ...

    def uniforms(self, count: int) -> list[float]: ...


class Drawing:
    """Draws a token for each of these rows, step after step.

    If another text takes a row, make a new one.
    """

    def __init__(self, rows: Sequence[Row], vocab_size: int) -> None:
        self._rows = rows
        self._groups = rows_by_settings([row.settings for row in rows])
        self._seen: torch.Tensor | None = None  # (B, V) True if the row's text has the token
        if any(settings.repetition_penalty != 1 for settings, _ in self._groups):
            self._seen = seen_tokens(rows, vocab_size)

    def draw(self, logits: torch.Tensor) -> list[Draw]:
        """Return a token for each row, from the logits (B, V)."""
        uniforms = torch.tensor([row.uniforms(1)[0] for row in self._rows], dtype=torch.float64)
        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
        chosen = choose_by_row(logits, self._groups, uniforms.to(logits.device), self._seen)
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        logprobs = -F.cross_entropy(logits, chosen, reduction="none")
        alternatives = self._alternatives(logits)
        return [
            Draw(token, logprob, alternatives.get(row))
            for row, (token, logprob) in enumerate(zip(chosen.tolist(), logprobs.tolist(), strict=True))
        ]

    def _alternatives(self, logits: torch.Tensor) -> dict[int, dict[int, float]]:
        """Return the log-probabilities of the likeliest tokens, for each row that asks for them."""
        counts = {row: own.alternatives for row, own in enumerate(self._rows) if own.alternatives}
        if not counts:
            return {}
        rows = list(counts)
        likeliest = logits[rows].log_softmax(1).topk(min(max(counts.values()), logits.size(1)))
        return {
            row: dict(zip(ids[: counts[row]], scores, strict=False))
            for row, ids, scores in zip(rows, likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        }


def seen_tokens(rows: Sequence[Row], vocab_size: int) -> torch.Tensor:
    """Return (B, V): True if the text of the row has the token."""
    seen = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for row, own in enumerate(rows):
        seen[row, own.prompt + own.tokens] = True
    return seen
