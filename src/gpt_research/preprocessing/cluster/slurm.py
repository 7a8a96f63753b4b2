"""Workers as one array of Slurm jobs; when the command comes again, it knows its jobs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.cluster.progress import RunProgress

PATIENCE_S = 60.0
"""Longest wait for cancelled jobs to leave the queue."""


@dataclass(frozen=True)
class SlurmSettings:
    """What sbatch is told."""

    partition: str
    time: str
    options: str
    """More flags, as in a shell."""
    workers: int
    strict: bool

    def check(self) -> None:
        """Raise a UserError if this machine or the settings cannot start jobs."""
        if not self.partition:
            raise UserError("--executor slurm needs --slurm_partition NAME.")
        if shutil.which("sbatch") is None:
            raise UserError(
                "--executor slurm starts jobs with sbatch, which is not here. Start it where Slurm is installed."
            )


class SlurmWorkers:
    """The jobs that work on a work folder. Their number is kept in the folder."""

    def __init__(self, folder: Path, settings: SlurmSettings) -> None:
        self.folder, self.settings = folder.absolute(), settings

    @property
    def number(self) -> str | None:
        """The number of the array that was submitted last; None if there was none."""
        return _number(self.folder)

    def in_queue(self) -> dict[str, int]:
        """Count the jobs that wait or run, by Slurm's word for their state and its reason."""
        return _in_queue(self.number)

    def submit(self) -> str:
        """Queue the workers; return the number of their array.

        Raises:
            UserError: sbatch refuses; the error is its sentence.
        """
        settings, logs = self.settings, self.folder / "slurm"
        logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "gpt_research.cli.preprocess_worker", str(self.folder)]
        paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        script = logs / "job.sh"
        script.write_text(
            "#!/bin/bash\n"
            f"export PYTHONPATH={shlex.quote(os.pathsep.join(filter(None, paths)))}\n"
            f"exec {shlex.join(command)} --number $SLURM_ARRAY_TASK_ID{' --strict' if settings.strict else ''}\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            [
                "sbatch", "--parsable", "--job-name=gpt-research-preprocess", f"--array=0-{settings.workers - 1}",
                f"--partition={settings.partition}", f"--time={settings.time}", "--ntasks=1", "--cpus-per-task=1",
                "--requeue", f"--output={logs}/worker-%a.log", "--open-mode=append",
                *shlex.split(settings.options), str(script),
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise UserError(f"Slurm refuses the jobs: {done.stderr.strip().removeprefix('sbatch: error: ')}")
        number = done.stdout.strip().partition(";")[0]
        (logs / "job").write_text(number, encoding="utf-8")
        return number


def work_on_slurm(
    workers: SlurmWorkers,
    progress: RunProgress,
    say: Callable[[str], None],
    follow: Callable[[Callable[[], bool]], bool] | None,
) -> bool:
    """Queue the workers of a run unless they are queued already; return whether the run is done.

    Args:
        say: called with sentences for the user.
        follow: waits while its argument returns True; None does not wait.

    Raises:
        UserError: Slurm refuses the jobs; while waiting, a task failed or its worker was killed.
    """
    if progress.done():
        cancel_jobs(workers.folder)
        return True
    workers.settings.check()
    queued = workers.in_queue()
    failed = [task for task in progress.unfinished() if task.failed]
    if queued and not failed:
        say(f"The jobs {workers.number} work on it: {_listed(queued)}; {progress}.")
    else:
        for task in progress.unfinished():
            say(str(task))
        if workers.number is not None and not queued:
            say(
                f"The jobs {workers.number} left the queue before the work was done: they were cancelled, or their "
                f"time was over. Their logs are in {workers.folder}/slurm."
            )
        if queued:
            cancel_jobs(workers.folder)
            say(f"The other jobs of {workers.number} were cancelled.")
        again = workers.number is not None
        progress.forget()
        number = workers.submit()
        say(f"{'What is missing was' if again else 'The work was'} handed to Slurm as {number}; {progress}.")
    if follow is None:
        return False
    done = follow(lambda: bool(workers.in_queue()))
    unfinished = progress.unfinished()
    # Others may still wait for a node, or look for work.
    cancel_jobs(workers.folder)
    if done:
        return True
    reasons = "\n".join(map(str, unfinished)) or f"The jobs have left the queue; {workers.folder}/slurm has their logs."
    raise UserError(f"{reasons}\nStart again: what is done stays.")


def cancel_jobs(folder: Path) -> None:
    """Take all jobs of a work folder out of the queue, and wait until they have left it.

    Raises:
        UserError: they are still there after a minute.
    """
    number, deadline = _number(folder), time.monotonic() + PATIENCE_S
    if number is None or shutil.which("scancel") is None:
        return
    subprocess.run(["scancel", number], capture_output=True)
    while _in_queue(number):
        if time.monotonic() > deadline:
            raise UserError(f"The jobs {number} do not end. Look at them with: squeue --jobs={number}")
        time.sleep(0.2)


def refuse_while_jobs_work_on(folder: Path, out: Path) -> None:
    """Raise a UserError if jobs work on a work folder that is about to be removed."""
    if (number := _number(folder)) is not None and shutil.which("squeue") and _in_queue(number):
        raise UserError(
            f"The Slurm jobs {number} work on {out} with other settings. Let them end, or run scancel {number} first."
        )


def _number(folder: Path) -> str | None:
    path = folder / "slurm" / "job"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _in_queue(number: str | None) -> dict[str, int]:
    if number is None:
        return {}
    done = subprocess.run(
        ["squeue", "--noheader", "--array", f"--jobs={number}", "--format=%T %r"], capture_output=True, text=True
    )
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise UserError(f"squeue cannot say what the jobs do: {done.stderr.strip()}")
    counts: dict[str, int] = {}
    for line in done.stdout.splitlines():
        state, _, reason = line.partition(" ")
        state = state.lower() + ("" if reason in ("None", "") else f" ({reason})")
        counts[state] = counts.get(state, 0) + 1
    return counts


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
