"""The work folder of a preprocessing run, where each stage finds what the one before it left.

    <out>/.work/
        tokenizer.json                 the vocabulary
        plan.json                      the `JobPlan`
        characters/00000.npy           code points of a task's texts, if they become the vocabulary
        tokens/00000.train.bin         tokens of a task's documents whose hash says train
        documents/00000.arrow          a row for each document: split, tokens, bytes, ...
        hashes/00000.npy               their exact-duplicate keys
        signatures/00000.npy           their MinHash signatures, if near-duplicates are looked for
        hits/00000.npy                 the 13-grams they share with benchmarks
        read/00000.json                what the task read and dropped
        chosen/00000.npy               which documents stay, where, and who is a copy
        assembled/00000.json           shards the task wrote, and what it dropped
        benchmarks/00000.npy           13-grams of a benchmark, if contamination is looked for
        progress.npy                   counters that the progress bar reads

This module knows nothing about what a stage does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base.files import write_json, written_whole
from gpt_research.preprocessing.job_plan import JobPlan

WORK_VERSION = 3
"""Version of the files in a work folder. A run starts again if it finds a work folder of another
version."""


@dataclass(frozen=True)
class WorkFolder:
    """Reads and writes the files of a work folder. A file that exists is whole."""

    folder: Path

    def path(self, kind: str, task: int, suffix: str) -> Path:
        path = self.folder / kind / f"{task:05d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def save_array(self, kind: str, task: int, array: np.ndarray) -> None:
        with written_whole(self.path(kind, task, "npy")) as part, open(part, "wb") as file:
            np.save(file, array)

    def load_array(self, kind: str, task: int) -> np.ndarray:
        return np.load(self.path(kind, task, "npy"))

    def save_json(self, kind: str, task: int, value: Any) -> None:
        write_json(self.path(kind, task, "json"), value)

    def load_json(self, kind: str, task: int) -> Any:
        return json.loads(self.path(kind, task, "json").read_text(encoding="utf-8"))

    def save_plan(self, plan: JobPlan) -> None:
        """Write the plan, and counters at zero."""
        self.folder.mkdir(parents=True, exist_ok=True)
        Progress.create(self.folder / "progress.npy", len(plan.tasks))
        write_json(self.folder / "plan.json", {"version": WORK_VERSION, **plan.as_json()})

    def load_plan(self) -> JobPlan:
        """Return the plan, read once in a process.

        Raises:
            ValueError: the work folder is of another version.
        """
        return _load_plan(self.folder / "plan.json", self.plan_written_ns())

    def plan_written_ns(self) -> int:
        """Return when the plan was written; caches have it in their keys and so serve one run."""
        return (self.folder / "plan.json").stat().st_mtime_ns

    def progress(self) -> Progress:
        return Progress(self.folder / "progress.npy")


@lru_cache(maxsize=1)
def _load_plan(path: Path, written_ns: int) -> JobPlan:
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields["version"] != WORK_VERSION:
        raise ValueError(f"version {fields['version']}")
    return JobPlan.from_json(fields)


class Progress:
    """Counters of every task in one small file, which workers write and the progress bar reads."""

    FIELDS = ("read_bytes", "text_bytes", "documents", "drops", "broken", "tokens", "assembled")

    def __init__(self, path: Path) -> None:
        self.counts = np.load(path, mmap_mode="r+")  # (tasks, fields)

    @classmethod
    def create(cls, path: Path, tasks: int) -> None:
        np.save(path, np.zeros((tasks, len(cls.FIELDS)), dtype=np.int64))

    def set(self, task: int, **values: int) -> None:
        for name, value in values.items():
            self.counts[task, self.FIELDS.index(name)] = value

    def totals(self) -> dict[str, int]:
        return dict(zip(self.FIELDS, self.counts.sum(axis=0).tolist(), strict=True))
