"""What an evaluation task is: one record of facts and plain functions, in one file of `tasks/`.

The file of a task holds everything about it: where its files are, how a row becomes an item, what
the model is asked about an item, which scores are computed from the answers, what others published,
how lm-eval scores the same items, and which texts count as contamination. Neither this module nor a
task imports torch, so preprocessing can ask a task for its texts without loading torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.evaluation.statistics import Metric

PACKED = (".gz", ".bz2")


@dataclass(frozen=True)
class BenchmarkFiles:
    """Where the rows of a benchmark are, and how many there must be."""

    title: str
    """The benchmark's name in messages, such as "LAMBADA's test set"."""
    patterns: tuple[str, ...]
    """Patterns of the file's name, such as *.jsonl; .gz or .bz2 may follow the name."""
    rows: int | tuple[int, ...] | None = None
    """Number of rows of the whole benchmark, or of each of its splits; None accepts any number."""
    hub: tuple[str, str | None, str] | None = None
    """Name, config and split on the hub; None if the benchmark is not there."""
    many: bool = False
    """The benchmark is all files of its folder, such as the sets of BLiMP; False allows one."""
    folder: str = ""
    """Folder of DIR in or below which the file is; empty: the folder has the name of the task."""
    labels: str = ""
    """File beside it with the label of each row, a line each; it becomes the field label."""

    def match(self, path: Path) -> bool:
        """Return True if the file's name fits one of the patterns, packed or not."""
        return any(unpacked_name(path).match(pattern) for pattern in self.patterns)

    def check_rows(self, where: str, count: int) -> None:
        """Check that a source holds the whole benchmark.

        Raises:
            UserError: the number of rows is wrong; the message names the source and both numbers.
        """
        known = (self.rows,) if isinstance(self.rows, int) else self.rows
        if known is not None and count not in known:
            reason = "it was cut short" if count < max(known) else "it is something else"
            raise UserError(
                f"{where} holds {count:,} rows, but {self.title} has {' or '.join(f'{n:,}' for n in known)}: {reason}. "
                "Fetch it again. To measure a part, keep the whole file and use --limit."
            )


@dataclass(frozen=True)
class Source:
    """The rows of a benchmark, and the file or data set that holds them."""

    where: str
    """The file or data set as messages name it: a path, or hub:name."""
    rows: Sequence[Any]
    """Lines of a text file without line ends, or dictionaries: the rows of .jsonl or of the hub."""
    facts: dict[str, Any]
    """For the result file: path and SHA-256, or name, split and fingerprint on the hub."""


def unpacked_name(path: Path) -> Path:
    """Return a file's path without the suffix of its packing."""
    return path.with_suffix("") if path.suffix in PACKED else path


@dataclass(frozen=True)
class Continuations:
    """Scores of n continuations."""

    nats: np.ndarray
    """(n,) float64: -ln p of each continuation as a whole."""
    greedy: np.ndarray
    """(n,) bool: True if greedy decoding would write exactly this continuation."""
    tokens: np.ndarray
    """(n,) int64: number of tokens of each continuation."""
    cut: int
    """Number of pairs that were longer than the context and were cut on the left."""
    fused: np.ndarray
    """(n,) bool: True if a token would cross the border of context and continuation, so that the
    continuation was encoded by itself. lm-eval scores only a part of it then."""


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
    """What a task may ask of a model. `evaluated_model.EvaluatedModel` implements it.

    A UserError says that a text is empty or cannot be encoded, or that the stride does not fit.
    """

    @property
    def context(self) -> int:
        """Number of tokens that the model may look at."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        """Return how likely the second text of each pair is after the first."""

    def generate(self, prompts: Sequence[str], max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        """Return what greedy decoding writes after each prompt, up to a stop text.

        A prompt that does not fit the context with its answer is cut on the left. A UserError says
        that none fits.
        """

    def cut_prompts(self, prompts: Sequence[str], max_new_tokens: int) -> int:
        """Return how many of the prompts `generate` cuts."""

    def running_text(self, pieces: Sequence[str]) -> RunningText:
        """Join the pieces to one text, score its tokens, and return the sums for each piece."""


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
    passages: Callable[[Source], Iterable[str]] | None = None
    """Returns the texts that preprocessing looks for in training data; None takes every text."""
    published: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    """Published scores, by the name of the score."""
    lm_eval: LmEvalTask | None = None
    """The same task in lm-eval; None if lm-eval does not have it."""
    variant: str = ""
    """How an item is put into words, in words, if there are several ways."""
    shots: int = 0
    """Number of solved examples before each item."""
    shown: Sequence[str] = ()
    """The metrics that tables show; empty shows all."""
    requests: str = ""
    """Folder of the package of ready requests (see `ready_requests`) that has these items too, such
    as piqa/rc_0shot. Empty: it has none."""
    from_requests: Callable[[Any], Any] | None = None
    """Turns an item of the ready requests (of the same form) into one of this task; None if they
    are the same."""
    from_documents: bool = False
    """`read` takes the documents that the ready requests were made of."""
    requests_variant: str = ""
    """The variant of items that come from ready requests."""
    form: str = ""
    """The name in `forms.FORMS` whose metrics these are; empty if the metrics are its own."""
    path: Path | None = None
    """The file of a user's own task; None if files are found by name."""
    about: Callable[[Source], str] | None = None
    """Tells what of the benchmark is there, such as 12 of 67 sets; None if always all of it is."""
