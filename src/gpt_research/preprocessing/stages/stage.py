"""The base of all stages, and what several of them use."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpt_research.base import plugins
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.formats.files import printable
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.readers.corpus import Corpus
from gpt_research.preprocessing.text.contamination import BenchmarkIndex
from gpt_research.preprocessing.work_folder import WorkFolder

EXAMPLES = 5
"""Dropped documents that are named for each reason."""
KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = range(4)
STATUS_NAMES = ("kept", "exact_duplicate", "near_duplicate", "contaminated")
NO_HITS = np.empty((0, 2), dtype=np.int64)
"""No overlaps with benchmarks; a row would hold a document and a 13-gram."""

OpenCorpus = Callable[[str], Corpus]
"""Returns the corpus that NAME=PATH means. It is pickled by name, so it must be a function of a
module."""


@dataclass(frozen=True)
class Stage(ABC):
    """A stage, which is called with a task's number and the number of tasks.

    It finds its input in the work folder and leaves its results there.
    """

    work: WorkFolder

    def __call__(self, rank: int, tasks: int) -> None:
        plan = self.work.load_plan()
        for path in plan.plugins:
            plugins.load(path)
        plugins.require(plan.options.get("plugins", {}), "This run")
        self.run(plan, rank)

    @abstractmethod
    def run(self, plan: JobPlan, rank: int) -> None:
        """Do one task of the stage."""


@dataclass(frozen=True)
class ReadingStage(Stage):
    """A stage that reads the corpora."""

    open_corpus: OpenCorpus

    def corpus(self, plan: JobPlan, name: str) -> Corpus:
        return _opened(self.open_corpus, plan.corpora[name], self.work.plan_written_ns())


# A process opens a corpus once for all its tasks, because there may be many files to list and to
# look at. A later run in the same process opens it again, because its files may have changed.
@lru_cache(maxsize=32)
def _opened(open_corpus: OpenCorpus, spec: str, plan_written_ns: int) -> Corpus:
    return open_corpus(spec)


class Drops:
    """Counts what a task leaves out, by reason, with a few examples."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def needs_example(self, reason: str) -> bool:
        return len(self.examples.get(reason, [])) < EXAMPLES

    def add(self, drop: Drop) -> None:
        self.counts[drop.reason] = self.counts.get(drop.reason, 0) + 1
        if drop.broken:
            self.broken[drop.reason] = self.broken.get(drop.reason, 0) + 1
        examples = self.examples.setdefault(drop.reason, [])
        if self.needs_example(drop.reason):
            source, detail = printable(drop.source), printable(drop.detail[:200])
            examples.append({"source": source, "position": drop.position, "detail": detail})


def copy_of(corpus: str, source: str, position: int) -> str:
    """Return the detail of a drop that names the document it is a copy of."""
    return f"copy of {corpus}: {source} ({position})"


def size_of_texts(texts: pa.LargeStringArray) -> int:
    """Return the UTF-8 bytes of texts."""
    return pc.sum(pc.binary_length(texts)).as_py() or 0


def uniform_of(keys: np.ndarray, plan: JobPlan) -> np.ndarray:
    """Map hashes of documents (n,) uint64 to [0, 1), seeded.

    Documents below `val_fraction` go to validation.
    """
    seed = np.random.SeedSequence(plan.options["seed"]).generate_state(1, np.uint64)
    return ((keys ^ seed) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)) * 2.0**-53


def splits_of(keys: np.ndarray, plan: JobPlan) -> np.ndarray:
    """Return each document's split by its hash, (n,) int64, as an index in `SPLITS`."""
    return np.where(uniform_of(keys, plan) < plan.options["val_fraction"], 1, 0)


def load_tokenizer(work: WorkFolder) -> Tokenizer:
    """Return the run's tokenizer, built once for all tasks of a process."""
    if work.load_plan().options["tokenizer"] == "gpt2":
        # GPT-2's package may be missing on a node of a cluster; the work folder has the same
        # vocabulary.
        with contextlib.suppress(UserError):
            return Tokenizer.gpt2()
    file = work.folder / "tokenizer.json"
    return _load_tokenizer(file, file_sha256(file))


@lru_cache(maxsize=1)
def _load_tokenizer(file: Path, sha256: str) -> Tokenizer:
    return Tokenizer.load(file)


def benchmark_index(work: WorkFolder, plan: JobPlan) -> BenchmarkIndex | None:
    """Return the index of all benchmarks, built once in a process; None if none is looked for."""
    names = [Path(folder).name for folder in plan.benchmarks]
    return _load_index(work, tuple(names), work.plan_written_ns()) if names else None


@lru_cache(maxsize=1)
def _load_index(work: WorkFolder, names: tuple[str, ...], plan_written_ns: int) -> BenchmarkIndex:
    return BenchmarkIndex.from_grams({name: work.load_array("benchmarks", rank) for rank, name in enumerate(names)})
