"""Where the tasks of a stage run: processes of this machine, Slurm or Ray, all by datatrove.

Knows nothing about what a stage does. datatrove is imported when a stage runs, and in no worker of this machine: these
are copies of a process that `start_server` starts, which imports what they need meanwhile.
"""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.settings import PreprocessConfig

Stage = Callable[[Any, int, int], None]
"""A stage as datatrove calls it: with nothing, the task's number, and the number of tasks."""


def rarely_collect_garbage() -> None:
    """Have this process look for garbage less often, and never at what was imported.

    Vocabularies and texts are a million objects without a cycle among them, and to look through them again and again
    takes a tenth of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def start_server(config: PreprocessConfig) -> None:
    """Start the process that workers are copies of, if there will be any; it imports what they need."""
    if config.executor != "local" or number_of_workers(config) == 1:
        return
    multiprocessing.set_forkserver_preload(
        [
            "gpt_research.preprocessing.stages",
            *(
                ["gpt_research.preprocessing.gpt2_encoder"] if config.tokenizer == "gpt2" else []
            ),  # imports the next one meanwhile
            "gpt_research.preprocessing.text.kernels",
        ]
    )
    # Python 3.11 does not hand it our sys.path, which a launcher in a bare clone has set.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), before)))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def number_of_workers(config: PreprocessConfig) -> int:
    return config.workers or os.cpu_count() or 1


def run(name: str, stage: Stage, tasks: int, logs: Path, config: PreprocessConfig) -> None:
    """Run the tasks of a stage that are not done yet, and wait for them.

    Args:
        logs: folder where the executor notes which tasks are done, and what others died of.

    Raises:
        UserError: a task failed, or a process died.
    """
    executor = (_local() if config.executor == "local" else _ray())(
        [stage], tasks=tasks, workers=min(number_of_workers(config), tasks), logging_dir=str(logs / name)
    )
    executor.run()
    if failed := executor.get_incomplete_ranks():
        raise UserError(
            f"{len(failed)} of {tasks} tasks of the stage {name} failed; {logs / name} says why. Start again: "
            "what is done stays."
        )


def run_task(stage: Stage, rank: int, tasks: int, logs: Path) -> None:
    """Run one task of a stage and note that it is done, where datatrove does; what it dies of goes to the logs."""
    try:
        stage(None, rank, tasks)
    except Exception as error:
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"task_{rank:05d}.log", "w", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        if isinstance(error, UserError | OSError):
            raise
        # Not every kind of error can go from one process to another.
        raise RuntimeError(f"task {rank}: {type(error).__name__}: {error}") from None
    (logs / "completions").mkdir(parents=True, exist_ok=True)
    (logs / "completions" / f"{rank:05d}").touch()


def submit(stages: Sequence[tuple[str, Stage, int]], logs: Path, config: PreprocessConfig) -> None:
    """Hand stages (name, stage, tasks) to Slurm, each to begin when the one before is done.

    Raises:
        UserError: no partition is named, or Slurm is not here.
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
            [stage], tasks=tasks, workers=number_of_workers(config), time=config.slurm_time,
            logging_dir=str(logs / name), partition=config.slurm_partition,
            job_name=f"gpt-research-{name}", depends=previous,
        )  # fmt: skip
    previous.run()  # launches what it depends on first


def _local() -> Any:
    from gpt_research.preprocessing.local_executor import LocalExecutor

    return LocalExecutor


def _ray() -> Any:
    if importlib.util.find_spec("ray") is None:
        raise UserError('ray is not installed. Run: pip install "gpt-research[cluster]"')
    from datatrove.executor import RayPipelineExecutor

    return RayPipelineExecutor
