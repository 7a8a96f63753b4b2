"""Makes the plan of a run: it cuts the corpora into tasks of about equal size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_research.base import plugins
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Unit
from gpt_research.preprocessing.filters.catalogue import chosen_filters, files_of
from gpt_research.preprocessing.job_plan import JobPlan, Task
from gpt_research.preprocessing.readers.corpus import Corpus
from gpt_research.preprocessing.settings import SMALLEST_TASK, PreprocessConfig
from gpt_research.preprocessing.text.contamination import benchmark_folders

NOT_IN_THE_OUTPUT = {
    *("corpora", "out", "workers", "strict", "dry_run", "executor"),
    *("slurm_partition", "slurm_time", "slurm_options", "wait"),
}
"""Settings that decide where and how fast a run goes, and not what it writes."""
FILTER_SETTINGS = {"filters", "language", "language_score"}
"""Settings that are recorded in one form, and only if there are filters."""
LARGEST_TASK, TASKS_AIMED_AT = 512 << 20, 64
"""Largest size of a task, in bytes on disk, and the number of tasks between the two limits."""


def make_plan(config: PreprocessConfig, corpora: Sequence[Corpus]) -> JobPlan:
    """Cut the corpora into tasks of about equal size, none of which spans two corpora.

    Args:
        corpora: the corpus that each of `config.corpora` names.

    Raises:
        UserError: there is nothing to read, no text is found, or a name is given twice.
    """
    options = {name: value for name, value in asdict(config).items() if name not in NOT_IN_THE_OUTPUT | FILTER_SETTINGS}
    options |= _filters(config, [corpus.name for corpus in corpora])
    if plugins.LOADED:
        options["plugins"] = plugins.hashes()
    benchmarks = benchmark_folders(Path(config.benchmarks)) if config.benchmarks else []
    plan = JobPlan({}, [], options, list(map(str, benchmarks)), list(map(str, plugins.LOADED.values())))
    units: dict[str, list[Unit]] = {}
    for spec, corpus in zip(config.corpora, corpora, strict=True):
        if corpus.name in plan.corpora:
            raise UserError(f'The corpus "{corpus.name}" is named twice. Give each a name of its own: NAME=PATH.')
        plan.corpora[corpus.name], units[corpus.name] = spec, corpus.units()
        corpus.check(units[corpus.name], plan.read_options)
        plan.left_out[corpus.name] = corpus.left_out(units[corpus.name])
    # Tasks are sized by the input alone, so that the output does not depend on the number of
    # workers.
    total = sum(unit.size for own in units.values() for unit in own)
    wanted = config.tasks or TASKS_AIMED_AT
    task_size = total // wanted if config.tasks else min(max(total // wanted, SMALLEST_TASK), LARGEST_TASK)
    for name, own in units.items():
        plan.tasks.extend(Task(name, number, group) for number, group in enumerate(_grouped(own, task_size)))
    return plan


def _filters(config: PreprocessConfig, corpora: Sequence[str]) -> dict[str, Any]:
    """Return the options that say which filters the corpora have; none if they have none."""
    first = ""
    if config.language:
        languages = " ".join(config.language.replace(",", " ").split())
        first = f"language(keep={json.dumps(languages)},min_score={config.language_score})"
    if not (filters := chosen_filters(config.filters, first, corpora)):
        return {}
    files = files_of(filters)
    return {"filters": filters, **({"filter_files": files} if files else {})}


def _grouped(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    """Put consecutive units together up to `size` bytes; a larger unit is a group of its own."""
    groups: list[list[Unit]] = []
    room = 0
    for unit in units:
        if not groups or unit.size > room:
            groups.append([])
            room = max(size, unit.size)
        groups[-1].append(unit)
        room -= unit.size
    return groups
