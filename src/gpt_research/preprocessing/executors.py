"""Runs the tasks of a stage: on processes of this machine, on Slurm or on Ray.

datatrove runs them on clusters; on this machine it records which tasks are done. It is imported
when a stage runs, because that takes a fifth of a second, and workers of this machine never import
it. This module knows nothing about what a stage does.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from gpt_research.base import hints, stopping
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.worker import TaskFunction, begin, run_task


def number_of_workers(config: PreprocessConfig, tasks: int) -> int:
    """Return how many processes run `tasks` at a time: the user's choice, or one for each core."""
    return min(config.workers or os.cpu_count() or 1, tasks)


def run(name: str, stage: TaskFunction, tasks: int, logs: Path, config: PreprocessConfig) -> None:
    """Run the tasks of a stage that are not done yet, and wait for them.

    Args:
        logs: folder where the executor notes which tasks are done, and why others failed.

    Raises:
        UserError: a task failed, or a process was killed.
    """
    workers = number_of_workers(config, tasks)
    # fsspec keeps a relative folder at its first absolute place, also after the process has changed
    # its directory.
    if failed := EXECUTORS[config.executor](stage, tasks, workers, (logs / name).absolute()):
        raise UserError(
            f"{len(failed)} of {tasks} tasks of the stage {name} failed; {logs / name} says why. Start again: "
            "what is done stays."
        )


def submit(stages: Sequence[tuple[str, TaskFunction, int]], logs: Path, config: PreprocessConfig) -> None:
    """Hand stages (name, stage, tasks) to Slurm; each begins when the one before it is done.

    Raises:
        UserError: no partition is named, or this machine has no Slurm.
    """
    if not config.slurm_partition:
        raise UserError("--executor slurm needs --slurm_partition NAME.")
    if shutil.which("sbatch") is None:
        raise UserError(
            "--executor slurm starts jobs with sbatch, which is not here. Start it where Slurm is installed."
        )
    from datatrove.executor import SlurmPipelineExecutor

    previous: Any = None
    for name, stage, tasks in stages:
        previous = SlurmPipelineExecutor(
            [stage], tasks=tasks, workers=number_of_workers(config, tasks), time=config.slurm_time,
            logging_dir=str(logs / name), partition=config.slurm_partition,
            job_name=f"gpt-research-{name}", depends=previous,
        )  # fmt: skip
    # The last job submits the jobs that it depends on first.
    previous.run()


def _run_locally(stage: TaskFunction, tasks: int, workers: int, logs: Path) -> list[int]:
    """Run the tasks on processes of this machine, or in this one; return those that failed."""
    from datatrove.executor import LocalPipelineExecutor
    from loguru import logger

    logger.remove()  # else datatrove writes to the terminal
    executor = LocalPipelineExecutor([stage], tasks=tasks, workers=workers, logging_dir=str(logs))
    ranks = executor.get_incomplete_ranks()
    if workers == 1:
        for rank in ranks:
            run_task(stage, rank, tasks, logs)
    elif ranks:
        _run_in_pool(stage, ranks, tasks, min(workers, len(ranks)), logs)
    return executor.get_incomplete_ranks()


def _run_in_pool(stage: TaskFunction, ranks: Sequence[int], tasks: int, workers: int, logs: Path) -> None:
    """Run tasks on `workers` processes; after the first error of a task no other begins.

    datatrove has a pool of its own, but that waits for ever if a worker is killed.
    """
    forkserver = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, forkserver, initializer=begin)
    others = set(multiprocessing.active_children())
    try:
        with stopping.deferred():  # a worker that is not known yet could not be ended
            results = [pool.submit(run_task, stage, rank, tasks, logs) for rank in ranks]
        for done in as_completed(results):
            done.result()
    except BrokenProcessPool:
        raise UserError(
            "A worker was killed, as the system does where memory runs out. Start again with fewer --workers: "
            "what is done stays."
        ) from None
    except Exception:
        raise
    except BaseException:  # the user stopped the run, and so does not wait for the tasks that run
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _run_on_ray(stage: TaskFunction, tasks: int, workers: int, logs: Path) -> list[int]:
    """Run the tasks on a Ray cluster; return those that failed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"ray is not installed. Run: {hints.install('cluster', 'ray')}")
    from datatrove.executor import RayPipelineExecutor

    executor = RayPipelineExecutor([stage], tasks=tasks, workers=workers, logging_dir=str(logs))
    executor.run()
    return executor.get_incomplete_ranks()


EXECUTORS: dict[str, Callable[[TaskFunction, int, int, Path], list[int]]] = {
    "local": _run_locally,
    "ray": _run_on_ray,
}
"""Executors that wait for a stage. Each takes stage, tasks, workers and logs, and returns the tasks
that failed."""
