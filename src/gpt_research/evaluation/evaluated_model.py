"""The model under test with what it takes to ask it: tokenizer, device, context, batch.

Texts are cut into context and continuation as lm-eval cuts them, so that the tokens, and with them the scores, are
the same: blanks at the end of a context go to the continuation, both are encoded together, and what is beyond the
context's own tokens is the continuation. An empty context is the end-of-text token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.base.runtime import Runtime
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.scoring import Scores, Window, rolling_windows, score
from gpt_research.model.gpt import GPT

Progress = Callable[[str, int], Callable[[int], object]]
"""Told what begins and how many windows it has; returns what is told how many more are done."""


def no_progress(name: str, total: int) -> Callable[[int], object]:
    """Show nothing."""
    return lambda done: None


@dataclass(frozen=True)
class Subject:
    """A model, ready to be asked."""

    model: GPT
    tokenizer: Tokenizer
    runtime: Runtime
    context: int
    """Tokens it may look at, at most its own context."""
    batch_size: int = 8
    """Sequences of the whole context at a time."""
    progress: Progress = no_progress

    def score(self, windows: Sequence[Window], name: str) -> list[Scores]:
        """Return the scores of each window; `name` is what is shown meanwhile."""
        advance = self.progress(name, len(windows))
        return score(self.model, windows, self.runtime, self.batch_size * self.context, advance)

    def continuations(self, pairs: Sequence[tuple[str, str]], name: str) -> Continuations:
        """Return how likely each continuation is after its context."""
        return self.token_continuations([encode_pair(self.tokenizer, *pair) for pair in pairs], name)

    def token_continuations(self, pairs: Sequence[tuple[list[int], list[int]]], name: str) -> Continuations:
        """Return the same for tokens of context (at least one) and continuation."""
        windows: list[Window] = []
        owners: list[int] = []
        for index, (before, after) in enumerate(pairs):
            found = list(rolling_windows(before + after, len(before), self.context))
            windows += found
            owners += [index] * len(found)
        nats, greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
        for owner, scores in zip(owners, self.score(windows, name), strict=True):
            nats[owner] += scores.nats.sum()
            greedy[owner] &= bool(scores.greedy.all())
        cut = [len(before) + len(after) > self.context + 1 for before, after in pairs]
        return Continuations(nats, greedy, int(np.sum(cut)))


@dataclass(frozen=True)
class Continuations:
    """Scores of continuations, one entry each."""

    nats: np.ndarray
    """-ln p of the whole continuation."""
    greedy: np.ndarray
    """Whether the model, always taking the likeliest token, writes just this."""
    cut: int
    """How many did not fit the context with all that is before them."""


def encode_pair(tokenizer: Tokenizer, before: str, after: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a context and of its continuation."""
    kept = before.rstrip()
    before, after = kept, before[len(kept) :] + after
    if not before:
        return [tokenizer.end_of_text], tokenizer.encode(after)
    context = tokenizer.encode(before)
    return context, tokenizer.encode(before + after)[len(context) :]
