"""How far the workers of a cluster are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.stage_tasks import StageTasks

LOOK_S = 0.5
"""Seconds between two looks at the work folder."""
MOST_NAMED = 5
"""Tasks that a message names."""


@dataclass(frozen=True)
class RunProgress:
    """Name and tasks of each stage of a run in a work folder."""

    logs: Path
    stages: Sequence[tuple[str, int]]

    def claims(self) -> list[tuple[str, StageTasks]]:
        return [(name, StageTasks(self.logs / name, tasks)) for name, tasks in self.stages]

    def done(self) -> bool:
        return not any(claims.missing() for _, claims in self.claims())

    def failed(self) -> bool:
        return any(claims.failed() for _, claims in self.claims())

    def unfinished(self) -> list[str]:
        """Return a sentence for each of the first tasks that failed; if none did, for each that was
        begun and has no worker any more.
        """
        failed = [
            f"Task {rank} of the stage {name} failed: {_last_line(log)} ({log})"
            for name, claims in self.claims()
            for rank in claims.failed()
            for log in [claims.folder / f"task_{rank:05d}.log"]
        ]
        sentences = failed or [
            f"Task {rank} of the stage {name} was not finished: its worker was killed or cancelled."
            for name, claims in self.claims()
            for rank in claims.claimed()
        ]
        further = len(sentences) - MOST_NAMED
        return sentences[:MOST_NAMED] + (
            [f"{further:,} more tasks {'failed' if failed else 'likewise'}."] if further > 0 else []
        )

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


def _last_line(log: Path) -> str:
    """Return the error at the end of a traceback."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return "".join(lines[-1:]).removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")
