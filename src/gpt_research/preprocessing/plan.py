"""The plan of a preprocessing run and its work folder, where each stage finds what the one before left.

    <out>/.work/
        tokenizer.json                 the vocabulary
        plan.json                      what is read, cut into tasks, and the settings that decide the output
        tokens/00000.train.bin         tokens of a task's documents, of those that their hash puts on this side
        documents/00000.arrow          a row for each document, in order: side, tokens, bytes, source, position
        hashes/00000.npy               their exact-duplicate keys
        signatures/00000.npy           their MinHash signatures, where near-duplicates are looked for
        hits/00000.npy                 the 13-grams they share with benchmarks
        read/00000.json                what the task read and dropped
        chosen/00000.npy               which documents stay, in which split, and what dropped ones are copies of
        assembled/00000.json           shards the task wrote, and what it dropped
        benchmarks/00000.npy           13-grams of a benchmark, where contamination is looked for
        progress.npy                   counters that the progress bar reads

The plan depends on the input alone, never on the number of workers, so the output does not either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.preprocessing.document import ReadOptions, Unit
from gpt_research.preprocessing.readers.resolve import Corpus, resolve
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.text.contamination import BenchmarkIndex, benchmark_folders

# Where and how fast it runs, not what comes out.
NOT_IN_THE_OUTPUT = {"corpora", "out", "workers", "strict", "executor", "slurm_partition", "slurm_time"}
WORK_VERSION = 2
"""Of what stands in a work folder: one of another version is not gone on with."""
SMALLEST_TASK, LARGEST_TASK, TASKS_AIMED_AT = 8 << 20, 512 << 20, 64


@dataclass(frozen=True)
class Task:
    """Consecutive units of one corpus."""

    corpus: str
    number: int
    """Index among the tasks of its corpus; its shards carry it."""
    units: list[Unit]

    @property
    def size(self) -> int:
        return sum(unit.size for unit in self.units)


@dataclass(frozen=True)
class Plan:
    """What a run reads and how; everything that decides the output."""

    corpora: dict[str, str]
    """The command line's NAME=PATH of each corpus, by name."""
    tasks: list[Task]
    options: dict[str, Any]
    """The fields of `PreprocessConfig` that decide the output."""
    benchmarks: list[str]
    """The folders of the benchmarks whose text is looked for."""

    @property
    def read_options(self) -> ReadOptions:
        return ReadOptions(**{name: self.options[name] for name in ReadOptions.__dataclass_fields__})

    def corpus(self, name: str) -> Corpus:
        return _resolved(self.corpora[name])

    def as_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))  # tuples become lists

    @property
    def digest(self) -> str:
        """A short name for everything that decides a data set's bytes, but the files' contents."""
        return hashlib.sha256(repr(self.as_json()).encode()).hexdigest()[:16]


def make_plan(config: PreprocessConfig) -> Plan:
    """Look at the corpora and cut them into tasks of about equal size, none of them over two corpora.

    Raises:
        UserError: a wrong path or reader, nothing to read, no text found, or a name given twice.
    """
    options = {name: value for name, value in asdict(config).items() if name not in NOT_IN_THE_OUTPUT}
    benchmarks = benchmark_folders(Path(config.benchmarks)) if config.benchmarks else []
    plan = Plan({}, [], options, list(map(str, benchmarks)))
    _resolved.cache_clear()  # the files may be others than in an earlier run
    units: dict[str, list[Unit]] = {}
    for spec in config.corpora:
        corpus = resolve(spec)
        if corpus.name in plan.corpora:
            raise UserError(f'The corpus "{corpus.name}" is named twice. Give each a name of its own: NAME=PATH.')
        plan.corpora[corpus.name], units[corpus.name] = spec, corpus.units()
        corpus.check(units[corpus.name], plan.read_options)
    total = sum(unit.size for found in units.values() for unit in found)
    wanted = config.tasks or TASKS_AIMED_AT
    task_size = total // wanted if config.tasks else min(max(total // wanted, SMALLEST_TASK), LARGEST_TASK)
    for name, found in units.items():
        for number, group in enumerate(_grouped(found, task_size)):
            plan.tasks.append(Task(name, number, group))
    return plan


def _grouped(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    groups: list[list[Unit]] = []
    room = 0
    for unit in units:
        if not groups or unit.size > room:
            groups.append([])
            room = max(size, unit.size)
        groups[-1].append(unit)
        room -= unit.size
    return groups


@dataclass(frozen=True)
class Work:
    """Paths in the work folder. Each file is written beside its place and moved, so what exists is whole."""

    folder: Path

    def path(self, kind: str, task: int, suffix: str) -> Path:
        place = self.folder / kind / f"{task:05d}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def save_array(self, kind: str, task: int, array: np.ndarray) -> None:
        place = self.path(kind, task, "npy")
        part = place.with_name(place.name + ".part")
        with open(part, "wb") as file:
            np.save(file, array)
        part.replace(place)

    def load_array(self, kind: str, task: int) -> np.ndarray:
        return np.load(self.path(kind, task, "npy"))

    def save_json(self, kind: str, task: int, value: Any) -> None:
        write_json(self.path(kind, task, "json"), value)

    def load_json(self, kind: str, task: int) -> Any:
        return json.loads(self.path(kind, task, "json").read_text(encoding="utf-8"))

    def save_plan(self, plan: Plan) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        Progress.create(self.folder / "progress.npy", len(plan.tasks))
        write_json(self.folder / "plan.json", {"version": WORK_VERSION, **plan.as_json()})

    def load_plan(self) -> Plan:
        path = self.folder / "plan.json"
        return _load_plan(path, path.stat().st_mtime_ns)

    def benchmark_index(self, plan: Plan) -> BenchmarkIndex | None:
        names = [Path(folder).name for folder in plan.benchmarks]
        return _load_index(self, tuple(names), (self.folder / "plan.json").stat().st_mtime_ns) if names else None

    def progress(self) -> Progress:
        return Progress(self.folder / "progress.npy")


# Once for all tasks of a process: there may be many files to list and to look at.
_resolved = lru_cache(maxsize=32)(resolve)


@lru_cache(maxsize=1)
def _load_plan(path: Path, written_ns: int) -> Plan:
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields["version"] != WORK_VERSION:
        raise ValueError(f"version {fields['version']}")
    tasks = [Task(t["corpus"], t["number"], [Unit(**u) for u in t["units"]]) for t in fields["tasks"]]
    return Plan(fields["corpora"], tasks, fields["options"], fields["benchmarks"])


@lru_cache(maxsize=1)
def _load_index(work: Work, names: tuple[str, ...], written_ns: int) -> BenchmarkIndex:
    return BenchmarkIndex.from_grams({name: work.load_array("benchmarks", rank) for rank, name in enumerate(names)})


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
