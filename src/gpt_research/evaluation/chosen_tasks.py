"""Which tasks an evaluation measures, and where the items of each come from.

Official files in the folder of `--benchmarks` win. Then come the ready requests of a package, and
last, without such a folder, the hub. A task that was named must be there. A suite goes on without
what is not there, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.evaluation import ready_requests
from gpt_research.evaluation.benchmark_files import MissingBenchmarkError, Source, find, paths_in, read_file
from gpt_research.evaluation.labelled import FINETUNED
from gpt_research.evaluation.own_tasks import read_own_tasks
from gpt_research.evaluation.settings import EvaluationSettings
from gpt_research.evaluation.task import Task
from gpt_research.evaluation.tasks.table import CORPORA, SUITES, TASKS, task_named


@dataclass(frozen=True)
class Chosen:
    """The tasks of one evaluation."""

    tasks: dict[str, Task]
    """By name, without the corpora."""
    limits: dict[str, int]
    """Number of items of a task, where a suite takes only the first."""
    with_corpora: bool

    @property
    def names(self) -> list[str]:
        return [*([CORPORA] if self.with_corpora else []), *self.tasks]


@dataclass(frozen=True)
class Items:
    """The items of one task, as they are measured."""

    task: Task
    source: Source
    items: Sequence[Any]
    of: int
    """Number of items of the whole task."""
    left_out: Sequence[int] = ()
    """Numbers of the items that the tokenizer cannot encode (see `unknown_letters`)."""
    why: str = ""
    """The first of them, and the character that it has."""

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the scores besides the model, for the result file."""
        is_ready = "package" in self.source.facts
        variant = self.task.requests_variant if is_ready else self.task.variant
        named = {"form": self.task.form, "variant": variant}
        facts: dict[str, Any] = {name: text for name, text in named.items() if text}
        if self.task.form:
            facts["shots"] = self.task.shots
        if len(self.items) + len(self.left_out) < self.of:
            facts["first_of"] = self.of
        if self.left_out:
            facts["not_encoded"] = {"items": list(self.left_out), "why": self.why}
        if self.task.about is not None:
            facts["about"] = self.task.about(self.source)
        return facts


def is_task_file(name: str) -> bool:
    """Return whether a name in --tasks is the path of a YAML file."""
    return name.endswith((".yaml", ".yml"))


def choose(settings: EvaluationSettings, trained_on: str = "") -> Chosen:
    """Return the tasks that the settings name. If they name none, return the default ones.

    These are the corpora, and with a folder of benchmarks also every task that has files in it.
    With such a folder the corpora are left out if the data set is not on this machine.

    Raises:
        UserError: a task is unknown, or a file of tasks is wrong.
    """
    if settings.benchmarks and not Path(settings.benchmarks).is_dir():
        raise UserError(f"There is no folder {settings.benchmarks} (--benchmarks).")
    tasks: dict[str, Task] = {}
    names: list[str] = []
    limits: dict[str, int] = {}
    if settings.suite:
        limits |= SUITES[settings.suite]
        names += SUITES[settings.suite]
    names += settings.named_tasks
    has_data = bool(settings.data) or Path(trained_on).is_dir()
    if not names:
        names = [CORPORA] if has_data or not settings.benchmarks else []
        if settings.benchmarks:
            names += [name for name, task in TASKS.items() if _is_default(name, task, settings.benchmarks)]
    for name in names:
        if is_task_file(name):
            own = read_own_tasks(Path(name))
            if taken := [n for n in own if n in TASKS or n in tasks or n in (CORPORA, FINETUNED)]:
                raise UserError(f'{name}: another task is called "{taken[0]}". Give this one a name of its own.')
            tasks |= own
        elif name != CORPORA:
            tasks[name] = task_named(name)
    with_corpora = CORPORA in names and (has_data or CORPORA in settings.named_tasks or not settings.suite)
    return Chosen(tasks, limits, with_corpora)


def _is_default(name: str, task: Task, folder: str) -> bool:
    # The first three were always asked for, so that a folder without them is noticed.
    return name in ("wikitext2", "lambada", "hellaswag") or bool(paths_in(name, task.files, folder))


def read_items(chosen: Chosen, settings: EvaluationSettings) -> tuple[dict[str, Items], dict[str, str]]:
    """Return the items of each task, and why the tasks of a suite that are missing are missing.

    Raises:
        UserError: a task that was named is not there, or a file is damaged.
    """
    found, missing = {}, {}
    for name, task in chosen.tasks.items():
        try:
            source, items = items_of(name, task, settings.benchmarks)
        except MissingBenchmarkError as error:
            if name in settings.named_tasks or not settings.suite:
                raise
            missing[name] = str(error)
            continue
        limit = min((n for n in (settings.limit, chosen.limits.get(name, 0)) if n), default=None)
        found[name] = Items(task, source, items[:limit], len(items))
    if settings.suite and CORPORA in chosen.limits and not chosen.with_corpora:
        missing[CORPORA] = "The data set of the run is not on this machine. Name one with --data."
    if missing and not found and not chosen.with_corpora:
        reasons = " ".join(f"{name}: {why}" for name, why in list(missing.items())[:2])
        raise UserError(f"Nothing of the suite {settings.suite} is here. {reasons}")
    return found, missing


def items_of(name: str, task: Task, folder: str) -> tuple[Source, Sequence[Any]]:
    """Return where the items of a task are, and all of its items.

    Raises:
        MissingBenchmarkError: they are not there.
        UserError: a file is damaged.
    """
    if task.path is not None:
        if not task.path.is_file():
            raise UserError(f"There is no file {task.path} with {task.files.title}.")
        source = read_file(task.path, may_lack_last_end=True)
    elif paths_in(name, task.files, folder) or not task.requests:
        source = find(name, task.files, folder)
    else:
        try:
            return _from_requests(task, folder)
        except MissingBenchmarkError as no_requests:
            try:
                source = find(name, task.files, folder)
            except MissingBenchmarkError as no_files:
                reasons = (no_files, no_requests) if task.files.patterns else (no_requests,)
                raise MissingBenchmarkError(" ".join(map(str, reasons))) from None
    return source, task.read(source)


def _from_requests(task: Task, folder: str) -> tuple[Source, Sequence[Any]]:
    source = ready_requests.read(task.requests, folder)
    if task.from_documents:
        source = ready_requests.documents(source)
        return source, task.read(source)
    items = ready_requests.items(source, task.form)
    return source, items if task.from_requests is None else [task.from_requests(item) for item in items]
