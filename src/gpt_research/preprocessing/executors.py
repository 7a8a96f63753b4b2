"""Runs the tasks of a stage on processes of this machine; `cluster` does so on many machines.

This module knows nothing about what a stage does.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path

from gpt_research.base import stopping
from gpt_research.base.errors import UserError
from gpt_research.base.pools import said_end
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.stage_tasks import StageTasks
from gpt_research.preprocessing.worker import TaskFunction, begin, run_task


def number_of_workers(config: PreprocessConfig, tasks: int) -> int:
    """Return how many processes run `tasks` at a time: the user's choice, or one for each core."""
    return min(config.workers or os.cpu_count() or 1, tasks)


def run(name: str, stage: TaskFunction, tasks: int, logs: Path, config: PreprocessConfig) -> None:
    """Run the tasks of a stage that are not done yet, on processes of this machine or in this one.

    Args:
        logs: folder for notes of which tasks are done, and why others failed.

    Raises:
        UserError: a task failed, or a process ended before its time.
    """
    folder, workers = logs / name, number_of_workers(config, tasks)
    ranks = StageTasks(folder, tasks).missing()
    if workers == 1:
        for rank in ranks:
            run_task(stage, rank, tasks, folder)
    elif ranks:
        _run_in_pool(stage, ranks, tasks, min(workers, len(ranks)), folder)


def _run_in_pool(stage: TaskFunction, ranks: Sequence[int], tasks: int, workers: int, logs: Path) -> None:
    """Run tasks on `workers` processes; after the first error of a task no other begins."""
    forkserver = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, forkserver, initializer=begin)
    others, processes = set(multiprocessing.active_children()), set[BaseProcess]()
    try:
        with stopping.deferred():  # a worker that is not known yet could not be ended
            results = [pool.submit(run_task, stage, rank, tasks, logs) for rank in ranks]
            processes |= set(multiprocessing.active_children()) - others
        for done in as_completed(results):
            done.result()
    except BrokenProcessPool:
        pool.shutdown()
        raise UserError(
            f"A worker {said_end(processes)}. Start again, with fewer --workers if memory is short: what is done stays."
        ) from None
    except Exception:
        raise
    except BaseException:  # the user stopped the run, and so does not wait for the tasks that run
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
