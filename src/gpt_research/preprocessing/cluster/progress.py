"""How far the workers of a cluster are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_research.preprocessing.stage_tasks import StageTasks

LOOK_S = 0.5
"""Seconds between two looks at the work folder."""


@dataclass(frozen=True)
class Unfinished:
    """A task that failed, or whose worker ended before it."""

    stage: str
    rank: int
    failed: bool
    log: Path
    """Holds the traceback if the task failed."""

    def __str__(self) -> str:
        reason = self.log.read_text(encoding="utf-8").splitlines()[-1:] if self.log.is_file() else []
        if self.failed:
            return f"Task {self.rank} of the stage {self.stage} failed: {''.join(reason)} ({self.log})"
        return f"Task {self.rank} of the stage {self.stage} was not finished: its worker was killed or cancelled."


@dataclass(frozen=True)
class RunProgress:
    """Name and tasks of each stage of a run in a work folder."""

    logs: Path
    stages: Sequence[tuple[str, int]]

    def claims(self) -> list[tuple[str, StageTasks]]:
        return [(name, StageTasks(self.logs / name, tasks)) for name, tasks in self.stages]

    def done(self) -> bool:
        return not any(claims.missing() for _, claims in self.claims())

    def unfinished(self) -> list[Unfinished]:
        """Return the tasks that failed; if no worker runs, also those that were begun."""
        return [
            Unfinished(name, rank, failed, claims.folder / f"task_{rank:05d}.log")
            for name, claims in self.claims()
            for failed, ranks in ((True, claims.failed()), (False, claims.claimed()))
            for rank in ranks
        ]

    def forget(self) -> None:
        """Forget failures and claims; call this only if no worker runs."""
        for _, claims in self.claims():
            claims.forget()

    def __str__(self) -> str:
        for name, claims in self.claims():
            if missing := claims.missing():
                return f"the stage {name} has {claims.tasks - len(missing):,} of {claims.tasks:,} tasks done"
        return "all stages are done"

    def follow(
        self, watch: Callable[[str], contextlib.AbstractContextManager[None]], goes_on: Callable[[], bool]
    ) -> bool:
        """Wait until all is done, or until `goes_on` returns False; return whether all is done.

        Args:
            watch: a context for each stage, for a progress bar.
        """
        for name, claims in self.claims():
            with watch(name):
                while claims.missing():
                    if claims.failed() or not goes_on():
                        return self.done()
                    time.sleep(LOOK_S)
        return True
