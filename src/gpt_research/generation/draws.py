"""From logits to draws, for rows with settings of their own.

Shapes: B rows, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections import abc

import torch

from gpt_research.generation.sampling import choose_by_row, rows_by_settings
from gpt_research.generation.sequence import Draw, Sequence


class Drawing:
    """Draws a token for each of these rows, step after step.

    If another sequence takes a row, make a new one.
    """

    def __init__(self, rows: abc.Sequence[Sequence], vocab_size: int) -> None:
        self._rows = rows
        self._groups = rows_by_settings([sequence.settings for sequence in rows])
        self._seen: torch.Tensor | None = None  # (B, V) True if the row's text has the token
        if any(settings.repetition_penalty != 1 for settings, _ in self._groups):
            self._seen = seen_tokens(rows, vocab_size)

    def draw(self, logits: torch.Tensor) -> list[Draw]:
        """Return a token for each row, from the logits (B, V)."""
        uniforms = torch.tensor([sequence.uniforms(1)[0] for sequence in self._rows], dtype=torch.float64)
        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
        chosen = choose_by_row(logits, self._groups, uniforms.to(logits.device), self._seen)
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        totals = logits.logsumexp(1)
        logprobs = logits.gather(1, chosen[:, None]).squeeze(1) - totals
        alternatives = self._alternatives(logits, totals)
        return [
            Draw(token, logprob, alternatives.get(row))
            for row, (token, logprob) in enumerate(zip(chosen.tolist(), logprobs.tolist(), strict=True))
        ]

    def _alternatives(self, logits: torch.Tensor, totals: torch.Tensor) -> dict[int, dict[int, float]]:
        """Return the log-probabilities of the likeliest tokens, for each row whose request has
        `logprobs`.
        """
        counts = {
            row: sequence.request.logprobs for row, sequence in enumerate(self._rows) if sequence.request.logprobs
        }
        if not counts:
            return {}
        rows = list(counts)
        likeliest = logits[rows].topk(min(max(counts.values()), logits.size(1)))
        values = (likeliest.values - totals[rows, None]).tolist()
        return {
            row: dict(zip(ids[: counts[row]], scores, strict=False))
            for row, ids, scores in zip(rows, likeliest.indices.tolist(), values, strict=True)
        }


def seen_tokens(rows: abc.Sequence[Sequence], vocab_size: int) -> torch.Tensor:
    """Return (B, V): True if the text of the row has the token."""
    seen = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for row, sequence in enumerate(rows):
        seen[row, sequence.prompt + sequence.tokens] = True
    return seen
