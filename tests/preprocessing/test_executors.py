"""Tasks run once each, on any number of processes, and the death of a process is an error rather
than a wait.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gpt_research.base.errors import UserError
from gpt_research.preprocessing import executors
from gpt_research.preprocessing.settings import PreprocessConfig


class UnpicklableError(Exception):
    """Such as several libraries raise: pickled, it cannot be made again."""

    def __init__(self, rank: int, reason: str) -> None:
        super().__init__(f"task {rank} has {reason}")


class Note:
    """A stage that notes in a folder which of its tasks ran, and fails or dies where a file says
    so.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, rank: int, tasks: int) -> None:
        with open(self.folder / f"ran-{rank}", "a") as file:
            file.write(f"{tasks}\n")
        if (self.folder / f"die-{rank}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.folder / f"fail-{rank}").exists():
            raise UserError(f"task {rank} has no paper")
        if (self.folder / f"burst-{rank}").exists():
            raise UnpicklableError(rank, "no pen")
        if (self.folder / f"sleep-{rank}").exists():
            time.sleep(3)

    def runs(self) -> list[int]:
        return [len((self.folder / f"ran-{rank}").read_text().splitlines()) for rank in range(4)]


def run(folder: Path, workers: int, tasks: int = 4) -> None:
    executors.run("note", Note(folder), tasks, folder / "logs", PreprocessConfig(workers=workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_is_done_is_not_run_again(tmp_path: Path, workers: int) -> None:
    run(tmp_path, workers)
    run(tmp_path, workers)
    assert Note(tmp_path).runs() == [1, 1, 1, 1]


def test_a_relative_folder_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "same").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        run(Path("same"), 1)
        assert Note(Path("same")).runs() == [1, 1, 1, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_ends_the_stage_and_stands_in_its_log(tmp_path: Path, workers: int) -> None:
    (tmp_path / "fail-3").touch()
    with pytest.raises(UserError, match="task 3 has no paper"):
        run(tmp_path, workers)
    assert "task 3 has no paper" in (tmp_path / "logs" / "note" / "task_00003.log").read_text()
    (tmp_path / "fail-3").unlink()
    run(tmp_path, workers)
    assert Note(tmp_path).runs() == [1, 1, 1, 2]


def test_a_failure_ends_the_stage_although_an_earlier_task_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sleep-0").touch()
    (tmp_path / "fail-1").touch()
    with pytest.raises(UserError, match="task 1 has no paper"):
        run(tmp_path, 2, tasks=20)
    assert len(list(tmp_path.glob("ran-*"))) < 8  # a few wait with the workers already


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_any_kind_is_told_as_what_it_is(tmp_path: Path, workers: int) -> None:
    (tmp_path / "burst-2").touch()
    with pytest.raises(RuntimeError, match="task 2: UnpicklableError: task 2 has no pen"):
        run(tmp_path, workers)


@pytest.mark.timeout(60)
def test_a_killed_worker_is_an_error_and_its_task_runs_again(tmp_path: Path) -> None:
    (tmp_path / "die-2").touch()
    with pytest.raises(UserError, match="A worker was killed"):
        run(tmp_path, 2)
    (tmp_path / "die-2").unlink()
    run(tmp_path, 2)
    assert Note(tmp_path).runs()[2] == 2


def test_what_is_done_stays_although_another_task_failed(tmp_path: Path) -> None:
    (tmp_path / "sleep-0").touch()
    (tmp_path / "fail-1").touch()
    with pytest.raises(UserError, match="task 1 has no paper"):
        run(tmp_path, 2)
    (tmp_path / "fail-1").unlink()
    run(tmp_path, 2)
    assert Note(tmp_path).runs()[:2] == [1, 2]
