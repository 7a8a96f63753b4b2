"""What an evaluation task is: one record of facts and plain functions, in one file of `tasks/`.

The file of a task holds everything about it: where its files are, how a row becomes an item, what
the model is asked about an item, which scores are computed from the answers, what others published,
how lm-eval scores the same items, and which texts count as contamination. Neither this module nor a
task imports torch, so preprocessing can ask a task for its texts without loading torch.
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
    """Scores of n continuations."""

    nats: np.ndarray
    """(n,) float64: -ln p of each continuation as a whole."""
    greedy: np.ndarray
    """(n,) bool: True if greedy decoding would write exactly this continuation."""
    cut: int
    """Number of pairs that were longer than the context and were cut on the left."""


@dataclass(frozen=True)
class RunningText:
    """Scores of a long text of n pieces, summed over the tokens of each piece."""

    nats: np.ndarray
    """(n,) float64: sum of -ln p over the scored tokens."""
    tokens: np.ndarray
    """(n,) float64: number of tokens."""
    scored: np.ndarray
    """(n,) float64: number of tokens that were scored."""
    bytes: np.ndarray
    """(n,) float64: UTF-8 bytes of the scored tokens."""
    stride: int
    """Tokens from the start of one window to the start of the next."""


class LanguageModel(Protocol):
    """What a task may ask of a model. `evaluated_model.EvaluatedModel` implements it."""

    @property
    def context(self) -> int:
        """Number of tokens that the model may look at."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        """Return how likely the second text of each pair is after the first."""

    def running_text(self, pieces: Sequence[str]) -> RunningText:
        """Join the pieces to one text, score its tokens, and return the sums for each piece.

        Raises:
            UserError: the stride is longer than the context.
        """


@dataclass(frozen=True)
class Measurement:
    """What a task measured on its items."""

    columns: dict[str, np.ndarray]
    """(items,) arrays, by the names that the task's metrics use."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the task that decide the scores, such as the stride, for the result file."""
    counts: dict[str, Any] = field(default_factory=dict)
    """Other facts for the result file, such as the number of items that were cut."""


@dataclass(frozen=True)
class Figure:
    """A score of GPT-2 124M that others published or measured from the released weights."""

    value: float
    context: int
    source: str


@dataclass(frozen=True)
class LmEvalTask:
    """How lm-eval scores the same items."""

    name: str
    """Name of the task in lm-eval."""
    rows: Callable[[Sequence[Any]], list[dict[str, Any]]]
    """Turns items into rows with the fields that `settings` use."""
    settings: Mapping[str, Any]
    """The part of lm-eval's task file that describes the request, the answer and the metrics."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An evaluation task: a benchmark, and how a model is scored on it."""

    files: BenchmarkFiles
    unit: str
    """What an item is called, in the plural, such as questions."""
    read: Callable[[Source], Sequence[Any]]
    """Turns rows into items: JSON values or dataclasses. Raises UserError for damaged rows."""
    measure: Callable[[LanguageModel, Sequence[Any]], Measurement]
    """Asks the model about the items."""
    metrics: Mapping[str, Metric]
    """The scores, by name."""
    passages: Callable[[Source], Iterable[str]] = every_text
    """Returns the texts that preprocessing looks for in training data."""
    published: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    """Published scores, by the name of the score."""
    lm_eval: LmEvalTask | None = None
    """The same task in lm-eval; None if lm-eval does not have it."""
