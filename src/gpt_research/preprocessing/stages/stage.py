"""What the stages have in common: how they are called, what a document's fate is, and what one leaves to the next."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpt_research.base.files import file_sha256
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.plan import Plan, Work

EXAMPLES = 5
"""Dropped documents that are named for each reason."""
KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = range(4)
STATUS_NAMES = ("kept", "exact_duplicate", "near_duplicate", "contaminated")
NO_HITS = np.empty((0, 2), dtype=np.int64)
"""What a task leaves of benchmark overlaps where none is looked for: document, 13-gram."""


@dataclass(frozen=True)
class Stage(ABC):
    """A stage as datatrove calls it: with the task's number; the data it would pass on stays on disk."""

    work: Work
    strict: bool = False

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        self.run(self.work.load_plan(), rank)

    @abstractmethod
    def run(self, plan: Plan, rank: int) -> None:
        """Do what the stage does for one task."""


class Drops:
    """Counts what a task leaves out, by reason, with a few examples."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def wants_example(self, reason: str) -> bool:
        return len(self.examples.get(reason, [])) < EXAMPLES

    def add(self, drop: Drop) -> None:
        self.counts[drop.reason] = self.counts.get(drop.reason, 0) + 1
        if drop.broken:
            self.broken[drop.reason] = self.broken.get(drop.reason, 0) + 1
        examples = self.examples.setdefault(drop.reason, [])
        if self.wants_example(drop.reason):
            examples.append({"source": drop.source, "position": drop.position, "detail": drop.detail[:200]})


def copy_of(corpus: str, source: str, position: int) -> str:
    """Say which document another one is a copy of."""
    return f"copy of {corpus}: {source} ({position})"


def size_of_texts(texts: pa.LargeStringArray) -> int:
    """Return the UTF-8 bytes of texts."""
    return pc.sum(pc.binary_length(texts)).as_py() or 0


def split_places(keys: np.ndarray, plan: Plan) -> np.ndarray:
    """Map the hashes of documents (n,) uint64 to [0, 1), another way for every seed; what is below `val_fraction` is
    for validation."""
    seed = np.random.SeedSequence(plan.options["seed"]).generate_state(1, np.uint64)
    return ((keys ^ seed) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)) * 2.0**-53


def sides(keys: np.ndarray, plan: Plan) -> np.ndarray:
    """Return the index in `SPLITS` of each document, (n,) int64, by its hash."""
    return np.where(split_places(keys, plan) < plan.options["val_fraction"], 1, 0)


def load_tokenizer(work: Work) -> Tokenizer:
    """Load the run's tokenizer to encode with, once for all tasks of a process."""
    if work.load_plan().options["tokenizer"] == "gpt2":
        with contextlib.suppress(ImportError):  # a node of a cluster without the package
            from gpt_research.preprocessing import gpt2_encoder as gpt2

            return gpt2.TOKENIZER
    file = work.folder / "tokenizer.json"
    return _load_tokenizer(file, file_sha256(file))


@lru_cache(maxsize=1)
def _load_tokenizer(file: Path, sha256: str) -> Tokenizer:
    return Tokenizer.load(file)
