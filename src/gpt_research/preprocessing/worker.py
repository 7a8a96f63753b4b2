"""Code of the processes that run tasks. It imports nothing that only the main process needs."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from pathlib import Path

from gpt_research.base import wait_policy
from gpt_research.base.errors import UserError
from gpt_research.base.parent import end_worker_with_parent

TaskFunction = Callable[[int, int], None]
"""A stage: it is called with the number of a task and the number of all tasks."""


def run_task(stage: TaskFunction, rank: int, tasks: int, logs: Path) -> None:
    """Run one task; write to `logs` that it is done, or its traceback."""
    try:
        stage(rank, tasks)
    except Exception as error:
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"task_{rank:05d}.log", "w", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        if isinstance(error, UserError | OSError):
            raise
        # Some errors cannot be pickled, and so could not go from a worker to the main process.
        raise RuntimeError(f"task {rank}: {type(error).__name__}: {error}") from None
    (logs / "completions").mkdir(parents=True, exist_ok=True)
    (logs / "completions" / f"{rank:05d}").touch()


def begin() -> None:
    """Prepare a process of the pool for its tasks."""
    wait_policy.choose_for_worker()
    end_worker_with_parent()
    rarely_collect_garbage()


def rarely_collect_garbage() -> None:
    """Make this process look for garbage less often, and never among what was imported.

    Vocabularies and texts are a million objects without a cycle among them. To search them again
    and again takes a tenth of the time of preprocessing.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
