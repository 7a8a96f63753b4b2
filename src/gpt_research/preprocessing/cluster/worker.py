"""A worker of a cluster: it does tasks of every stage until the run is complete."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from gpt_research.base import wait_policy
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.stage_tasks import StageTasks
from gpt_research.preprocessing.worker import TaskFunction, rarely_collect_garbage, run_task

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
"""Between two looks at what others have done; a file system does not bear many looks."""


def work_on(stages: Sequence[tuple[str, TaskFunction, int]], logs: Path, number: int) -> None:
    """Do tasks of all stages (name, stage, tasks) until the run is complete.

    Args:
        logs: folder of the run's notes of which tasks are done.
        number: of this worker; workers begin at different tasks.

    Raises:
        UserError: a task of this or of another worker failed.
    """
    wait_policy.choose_for_worker()
    rarely_collect_garbage()
    for name, stage, tasks in stages:
        work_through(name, stage, StageTasks(logs / name, tasks), number)


def work_through(name: str, stage: TaskFunction, claims: StageTasks, number: int) -> None:
    """Do tasks of one stage until all are done, by this worker or by others.

    Raises:
        UserError: a task failed.
    """
    wait_s = SHORTEST_WAIT_S
    while missing := claims.missing():
        if failed := claims.failed():
            raise UserError(f"Task {failed[0]} of the stage {name} failed.")
        begin = number % len(missing)  # workers that began at the same task would wait for its claim
        for rank in missing[begin:] + missing[:begin]:
            if _do(stage, rank, claims):
                wait_s = SHORTEST_WAIT_S
                break
        else:  # others do all that is left
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _do(stage: TaskFunction, rank: int, claims: StageTasks) -> bool:
    """Do a task unless another worker does or did it; return whether this one did it."""
    with claims.claim(rank) as mine:
        # Between the look and the claim another worker may have done it.
        if not mine or (claims.folder / "completions" / f"{rank:05d}").exists():
            return False
        try:
            run_task(stage, rank, claims.tasks, claims.folder)
        except Exception:
            claims.note_failure(rank)
            raise
        return True
