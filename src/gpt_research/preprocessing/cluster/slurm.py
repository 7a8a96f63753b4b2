"""Workers as one array of Slurm jobs; when the command comes again, it knows its jobs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base import stopping
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.cluster.progress import RunProgress

PATIENCE_S = 60.0
"""Longest wait for cancelled jobs to leave the queue."""
LOOK_S = 5.0
"""Seconds between two questions to Slurm, because one controller answers a whole cluster."""
OUTAGE_S = 1800.0
"""Seconds without an answer of Slurm that a waiting command bears."""
NEVER = {
    "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS", "JobLaunchFailure",
     "PartitionNodeLimit", "PartitionTimeLimit", "launch failed requeued held",
}  # fmt: skip
"""Slurm's reasons for which a job never begins as it is; further ones have `PerJob` in their name.
Source: Slurm's page "Job reason codes"."""

Queue = Mapping[tuple[str, str], int]
"""Number of jobs by Slurm's words for their state and for the reason why they wait."""


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
        self.logs = self.folder / "slurm"

    @property
    def number(self) -> str | None:
        """The number of the array that was submitted last; None if there was none."""
        return _number(self.folder)

    def in_queue(self) -> Queue:
        """Return the jobs that wait or run."""
        return _in_queue(self.number)

    def submit(self) -> str:
        """Queue the workers; return the number of their array.

        Raises:
            UserError: sbatch refuses; the error is its sentence.
        """
        settings = self.settings
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "gpt_research.cli.preprocess_worker", str(self.folder)]
        paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        script = self.logs / "job.sh"
        script.write_text(
            "#!/bin/bash\n"
            f"cd {shlex.quote(os.getcwd())} || exit\n"  # paths of corpora may be relative
            f"export PYTHONPATH={shlex.quote(os.pathsep.join(filter(None, paths)))}\n"
            f"exec {shlex.join(command)} --number $SLURM_ARRAY_TASK_ID{' --strict' if settings.strict else ''}\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            [
                "sbatch", "--parsable", "--job-name=gpt-research-preprocess", f"--array=0-{settings.workers - 1}",
                f"--partition={settings.partition}", f"--time={settings.time}", "--ntasks=1", "--cpus-per-task=1",
                "--requeue", f"--output={self.logs}/%A-%a.log", "--open-mode=append",
                *shlex.split(settings.options), str(script),
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            said = ". ".join(line.removeprefix("sbatch: error: ") for line in done.stderr.strip().splitlines())
            raise UserError(
                f"Slurm refuses the jobs: {said.rstrip('.')}. "
                "Change --slurm_partition, --slurm_time or --slurm_options."
            )
        number = done.stdout.strip().partition(";")[0]
        (self.logs / "job").write_text(number, encoding="utf-8")
        return number

    def last_words(self) -> str:
        """Return the last lines that the jobs wrote; they often say why a job ended."""
        words = []
        for log in sorted(self.logs.glob(f"{self.number}-*.log")):
            words += log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        if not words:
            return f"They wrote nothing, so their nodes may not see {self.logs}."
        return f"In {self.logs} they wrote at last: {'; '.join(dict.fromkeys(words[:3]))}"


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
    queued, number = workers.in_queue(), workers.number
    if queued and not progress.failed() and not _wait_for_ever(queued):
        say(f"The jobs {number} work on it: {_listed(queued)}; {progress}.")
    else:
        if number is not None:
            for reason in _reasons(workers, progress, queued):
                say(reason)
        if queued:
            cancel_jobs(workers.folder)
            say(f"What was left of the jobs {number} was cancelled.")
        progress.forget()
        again, number = number is not None, workers.submit()
        say(f"{'What is missing was' if again else 'The work was'} handed to Slurm as {number}; {progress}.")
    if follow is None:
        return False
    with stopping.advising(f"The jobs {number} go on. The same command says how far; scancel {number} ends them."):
        done = follow(_Patience(workers).goes_on)
    if done:
        cancel_jobs(workers.folder)
        return True
    reasons = _reasons(workers, progress, workers.in_queue())
    # Others may still wait for a node, or look for work.
    cancel_jobs(workers.folder)
    raise UserError("\n".join([*reasons, "Start again: what is done stays."]))


class _Patience:
    """Asks Slurm now and then whether jobs work, and bears that it does not answer for a while."""

    def __init__(self, workers: SlurmWorkers) -> None:
        self.workers = workers
        self.asked_at = self.answered_at = -float("inf")
        self.answer = True

    def goes_on(self) -> bool:
        """Return whether jobs run, or wait and may begin.

        Raises:
            UserError: Slurm has not answered for long.
        """
        now = time.monotonic()
        if now < self.asked_at + LOOK_S:
            return self.answer
        self.asked_at = now
        try:
            queued = self.workers.in_queue()
        except UserError:
            if now > self.answered_at + OUTAGE_S:
                raise
        else:
            self.answer, self.answered_at = bool(queued) and not _wait_for_ever(queued), now
        return self.answer


def _reasons(workers: SlurmWorkers, progress: RunProgress, queued: Queue) -> list[str]:
    """Return sentences that say why the work is not done."""
    if progress.failed():
        return progress.unfinished()
    if queued:
        return [f"The jobs {workers.number} would wait for ever: {_listed(queued)}."] if _wait_for_ever(queued) else []
    return [
        *progress.unfinished(),
        f"The jobs {workers.number} left the queue before the work was done: they were cancelled, or their time was "
        f"over. {workers.last_words()}",
    ]


def _wait_for_ever(queued: Queue) -> bool:
    """Return whether no job runs and none of those that wait will begin."""
    return bool(queued) and all(reason in NEVER or "PerJob" in reason for _, reason in queued)


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


def refuse_while_jobs_work_on(folder: Path, out: Path, how: str) -> None:
    """Raise a UserError if jobs work on a work folder.

    Args:
        how: what differs from the command that is about to use the folder.
    """
    if (number := _number(folder)) is not None and shutil.which("squeue") and _in_queue(number):
        raise UserError(f"The Slurm jobs {number} work on {out} {how}. Let them end, or run scancel {number} first.")


def _number(folder: Path) -> str | None:
    path = folder / "slurm" / "job"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _in_queue(number: str | None) -> Queue:
    if number is None:
        return {}
    # The user's own choices for squeue, such as which states it shows, would hide jobs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    command = ["squeue", "--noheader", "--array", f"--jobs={number}", "--format=%T %r"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise UserError(f"squeue cannot say what the jobs {number} do: {done.stderr.strip()}")
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return Counter((state.lower(), "" if reason == "None" else reason) for state, _, reason in lines)


def _listed(queued: Queue) -> str:
    return ", ".join(
        f"{count} {state}{f' ({reason})' if reason else ''}" for (state, reason), count in sorted(queued.items())
    )
