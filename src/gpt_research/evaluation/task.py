"""What an evaluation task is: one record, made of facts and plain functions. `tasks/` has a file for each.

The file of a task holds all that is known of it: where its items are, how they are read, what a model
is asked, which scores come of the answers, what others published, how lm-eval knows it, and which of
its texts must not be in training data. Nothing here imports torch, so preprocessing can ask a task for
its texts at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, every_text
from gpt_research.evaluation.statistics import Metric


@dataclass(frozen=True)
class Continuations:
    """Scores of continuations; each array has one entry for each continuation."""

    nats: np.ndarray
    """-ln p of the whole continuation, (n,) float64."""
    greedy: np.ndarray
    """True if greedy decoding would write exactly this continuation, (n,) bool."""
    cut: int
    """How many did not fit the context together with the text before them."""


@dataclass(frozen=True)
class RunningText:
    """Scores of a long text, summed over each of its pieces; each array has one entry for each piece."""

    nats: np.ndarray
    """-ln p of the piece's scored tokens, (n,) float64."""
    tokens: np.ndarray
    """Tokens of the piece, (n,) float64."""
    scored: np.ndarray
    """Those of them that were scored, (n,) float64."""
    bytes: np.ndarray
    """UTF-8 bytes of the scored tokens, (n,) float64."""
    stride: int
    """Tokens from the start of one window to the start of the next."""


class LanguageModel(Protocol):
    """The questions that a task may ask. `evaluated_model.EvaluatedModel` answers them for a GPT."""

    @property
    def context(self) -> int:
        """Tokens that the model may look at."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        """Return how likely each pair's second text is after its first."""

    def running_text(self, pieces: Sequence[str]) -> RunningText:
        """Return how likely the text is that the pieces make when joined.

        Raises:
            UserError: the stride does not fit the context.
        """


@dataclass(frozen=True)
class Measurement:
    """What a task measured."""

    columns: dict[str, np.ndarray]
    """One array for each column that a metric names, with one entry for each item."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What decides the scores beside the items, the model and its context."""
    counts: dict[str, Any] = field(default_factory=dict)
    """What the result states beside the scores."""


@dataclass(frozen=True)
class Figure:
    """A score of GPT-2 124M that others published, or measured again from its weights."""

    value: float
    context: int
    source: str


@dataclass(frozen=True)
class LmEvalTask:
    """How lm-eval scores the same items."""

    name: str
    """lm-eval's own name of the task."""
    rows: Callable[[Sequence[Any]], list[dict[str, Any]]]
    """Turns items into the rows that `settings` refer to."""
    settings: Mapping[str, Any]
    """The fields of lm-eval's task file that say how a row is asked and scored."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An evaluation task over the files of a benchmark."""

    files: BenchmarkFiles
    unit: str
    """What an item is, in the plural: questions, passages."""
    read: Callable[[Source], Sequence[Any]]
    """Turns rows into items; raises UserError for damaged rows. Items are JSON values or dataclasses of them."""
    measure: Callable[[LanguageModel, Sequence[Any]], Measurement]
    """Asks a model about the items."""
    metrics: Mapping[str, Metric]
    """The scores by name."""
    passages: Callable[[Source], Iterable[str]] = every_text
    """The texts that count as contamination if training data holds 13 words in a row of them."""
    published: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    """Figures of others, by the name of the score."""
    lm_eval: LmEvalTask | None = None
