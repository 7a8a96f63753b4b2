"""Tasks run once each, on any number of processes, and the death of a process is an error rather than a wait."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gpt_research.config import PreprocessConfig
from gpt_research.data import executors
from gpt_research.errors import UserError


class Note:
    """A stage that notes in a folder which of its tasks ran, and fails or dies where a file says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        with open(self.folder / f"ran-{rank}", "a") as file:
            file.write(f"{world_size}\n")
        if (self.folder / f"die-{rank}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.folder / f"fail-{rank}").exists():
            raise UserError(f"task {rank} has no paper")

    def runs(self) -> list[int]:
        return [len((self.folder / f"ran-{rank}").read_text().splitlines()) for rank in range(4)]


def run(folder: Path, workers: int) -> None:
    executors.run("note", Note(folder), 4, folder / "logs", PreprocessConfig(workers=workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_is_done_is_not_run_again(tmp_path: Path, workers: int) -> None:
    run(tmp_path, workers)
    run(tmp_path, workers)
    assert Note(tmp_path).runs() == [1, 1, 1, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_ends_the_stage_and_stands_in_its_log(tmp_path: Path, workers: int) -> None:
    (tmp_path / "fail-3").touch()
    with pytest.raises(UserError, match="task 3 has no paper"):
        run(tmp_path, workers)
    assert "task 3 has no paper" in (tmp_path / "logs" / "note" / "task_00003.log").read_text()
    (tmp_path / "fail-3").unlink()
    run(tmp_path, workers)
    assert Note(tmp_path).runs() == [1, 1, 1, 2]


@pytest.mark.timeout(60)
def test_a_killed_worker_is_an_error_and_its_task_runs_again(tmp_path: Path) -> None:
    (tmp_path / "die-2").touch()
    with pytest.raises(UserError, match="A worker was killed"):
        run(tmp_path, 2)
    (tmp_path / "die-2").unlink()
    run(tmp_path, 2)
    assert Note(tmp_path).runs()[2] == 2
