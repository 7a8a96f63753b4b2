"""Workers as tasks of Ray. The command waits for them."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.cluster.progress import RunProgress
from gpt_research.preprocessing.cluster.worker import work_on
from gpt_research.preprocessing.worker import TaskFunction


def work_on_ray(
    stages: Sequence[tuple[str, TaskFunction, int]],
    workers: int,
    progress: RunProgress,
    follow: Callable[[Callable[[], bool]], bool],
) -> None:
    """Do all stages (name, stage, tasks) with `workers` tasks of Ray, and wait for them.

    Args:
        follow: waits while its argument returns True; returns whether the run is done.

    Raises:
        UserError: Ray is not installed, a task failed, or a worker was killed.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"ray is not installed. Run: {hints.install('cluster', 'ray')}")
    # Ray would send figures of its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    progress.forget()
    paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own coming changes
        ray.init(
            ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR", include_dashboard=False,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}},
        )  # fmt: skip
        try:
            # A worker that dies is not started again, because the others take what it leaves.
            logs = progress.logs.absolute()
            start = ray.remote(num_cpus=1, max_retries=0)(work_on)
            running = [start.remote(stages, logs, number) for number in range(workers)]
            done = follow(lambda: len(ray.wait(running, num_returns=len(running), timeout=0)[1]) > 0)
        finally:
            ray.shutdown()
    if not done:
        reasons = "\n".join(progress.unfinished()) or "The workers have ended before the work was done."
        raise UserError(f"{reasons}\nStart again: what is done stays.")
