"""Which tasks of a stage are done, have failed, or are claimed by a worker: files in a folder.

<work folder>/logs/<stage>/completions/00003    the task is done
                           failed/00003         it failed; task_00003.log says why
                           claims/00003         a worker does it, and touches the file meanwhile
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEARTBEAT_S = 10.0
"""Seconds between the signs of life of a worker."""
STALE_S = 90.0
"""Seconds without a sign of life after which another worker may take the task."""


@dataclass(frozen=True)
class StageTasks:
    """The tasks of one stage of a run, of which each is done once."""

    folder: Path
    """<work folder>/logs/<stage>"""
    tasks: int

    def missing(self) -> list[int]:
        """Return the tasks that are not done."""
        done = _numbers(self.folder / "completions")
        return [rank for rank in range(self.tasks) if rank not in done]

    def failed(self) -> list[int]:
        """Return the tasks that failed since `forget`."""
        return sorted(_numbers(self.folder / "failed"))

    def claimed(self) -> list[int]:
        """Return the tasks that a worker has begun and not ended."""
        return sorted(_numbers(self.folder / "claims"))

    def note_failure(self, rank: int) -> None:
        _touch(self.folder / "failed" / f"{rank:05d}")

    def forget(self) -> None:
        """Forget failures and claims; call this only if no worker runs."""
        for name in ("failed", "claims"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextlib.contextmanager
    def claim(self, rank: int) -> Iterator[bool]:
        """Try to claim a task for the time of the block; the block gets whether that succeeded."""
        path = self.folder / "claims" / f"{rank:05d}"
        if not self._create(path):
            yield False
            return
        ended = threading.Event()

        def give_signs_of_life() -> None:
            while not ended.wait(HEARTBEAT_S):
                with contextlib.suppress(OSError):
                    os.utime(path)

        heart = threading.Thread(target=give_signs_of_life, daemon=True)
        heart.start()
        try:
            yield True
        finally:
            ended.set()
            heart.join()
            path.unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The file system lets only one process create a file in this mode.
            with open(path, "x", encoding="utf-8") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}\n")
            return True
        except FileExistsError:
            self._take_away_if_stale(path)
            return False

    def _take_away_if_stale(self, path: Path) -> None:
        """Remove the claim of a worker that has died, so that the next attempt succeeds."""
        # Clocks of hosts differ, so the age is that between two files of one file system.
        probe = path.with_name(f".{socket.gethostname()}-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            _touch(probe)
            if probe.stat().st_mtime - path.stat().st_mtime > STALE_S:
                # If two workers see this at once, both may do the task. They write the same bytes.
                path.unlink(missing_ok=True)
        probe.unlink(missing_ok=True)


def _numbers(folder: Path) -> set[int]:
    try:
        return {int(entry.name) for entry in os.scandir(folder) if entry.name.isdigit()}
    except FileNotFoundError:
        return set()


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
