"""Threads sleep while they wait if others need the cores, spin if they are free, and the numbers
are the same.

What needs two threads runs in a process of its own, because these tests have one.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt_research.base import machine, shared_cores, wait_policy
from gpt_research.base.settings import write_yaml
from gpt_research.base.shared_cores import CALM_LOOKS, Watcher
from gpt_research.config import TrainConfig
from gpt_research.training.metrics import read_metrics

needs_gnu_openmp = pytest.mark.skipif(
    not shared_cores.gnu_libraries() or machine.busy_seconds() is None,
    reason="torch has another OpenMP library here, or the system does not say how busy its cores are",
)


class Team:
    """In place of the sleeping team: remembers whether it exists."""

    exists = False

    def gather(self) -> None:
        self.exists = True

    def dismiss(self) -> None:
        assert self.exists
        self.exists = False


@pytest.mark.parametrize(
    ("looks", "sleeps"),
    [
        ([0.0, 0.1, 0.2], False),  # a little work of the system's is no reason
        ([0.3], True),
        ([1.0] + [0.0] * (CALM_LOOKS - 1), True),
        ([1.0] + [0.0] * CALM_LOOKS, False),
        ([1.0, *[0.0] * (CALM_LOOKS - 1), 0.2, 0.0], True),  # a calm that was interrupted
        ([1.0, *[0.0] * CALM_LOOKS, 0.2, 2.0], True),
        ([1.0] + [0.2] * 20, True),
    ],
)
def test_threads_sleep_from_the_first_busy_look_until_some_calm(looks: list[float], sleeps: bool) -> None:
    watcher = Watcher(Team())  # type: ignore[arg-type]
    for needed in looks:
        watcher.look(needed)
    assert watcher.team.exists == sleeps
    assert (watcher.looks_shared > 0) == sleeps


def test_work_of_the_usable_cores_alone_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    ticks = ["100 20 30 9999 5000 1 2 3 0 0", "1 1 1 1 1 1 1 1 1 1", "10 0 0 50 0 0 0 40 7 0"]
    lines = ["cpu  0 0 0 0 0 0 0 0 0 0", *(f"cpu{n} {line}" for n, line in enumerate(ticks)), "intr 5 5"]
    (tmp_path / "stat").write_text("\n".join(lines), encoding="utf-8")
    assert machine.busy_seconds() == pytest.approx((100 + 20 + 30 + 1 + 2 + 3 + 10 + 40) / 100)
    (tmp_path / "stat").unlink()
    assert machine.busy_seconds() is None


@pytest.mark.parametrize(
    ("usable", "bound", "threads", "processes", "users", "expected"),
    [
        (2.0, False, 64, 1, None, 2),
        (1.5, False, 4, 1, None, 1),
        (0.5, False, 4, 1, None, 1),
        (8, False, 4, 1, None, 4),
        (2, False, 64, 1, "64", 64),
        (8, False, 8, 2, None, 4),
        (2, False, 2, 3, None, 1),
        (8, False, 8, 2, "8", 8),
        (4, True, 8, 2, None, 4),  # the scheduler has shared the cores out already
    ],
)
def test_a_process_gets_as_many_threads_as_it_has_cores(
    usable: float,
    bound: bool,
    threads: int,
    processes: int,
    users: str | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4 if bound else 64)), raising=False)
    has = [threads]
    monkeypatch.setattr(machine, "usable_cores", lambda: usable)
    monkeypatch.setattr(torch, "get_num_threads", lambda: has[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: has.__setitem__(0, number))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if users is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    shared_cores.fit_threads(processes)
    assert has == [expected]


def test_the_work_of_a_process_is_part_of_that_of_the_cores() -> None:
    if (before := machine.busy_seconds()) is None:
        pytest.skip("the system does not say how busy its cores are")
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass
    assert (machine.busy_seconds() or 0.0) - before > 0.15


SWITCH = """
import time, torch
from gpt_research.base import shared_cores

numbers = torch.randn(200_000)
def cpu_seconds():
    '''Between two operations the second thread waits: does it take a core meanwhile?'''
    began = time.process_time()
    for _ in range(50):
        numbers.add(1)
        time.sleep(0.002)
    return time.process_time() - began

team = shared_cores.SleepingTeam()
cpu_seconds()
spinning = cpu_seconds()
team.gather()
sleeping = cpu_seconds()
team.gather()
team.dismiss()
time.sleep(0.2)
again = cpu_seconds()
print(spinning, sleeping, again)
"""


@needs_gnu_openmp
@pytest.mark.parametrize("command", [True, False], ids=["a command", "a user's program"])
def test_the_sleeping_team_lets_other_threads_sleep(command: bool) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in wait_policy.USERS_CHOICE}
    begin = "from gpt_research.__main__ import main; main('--version')\n" if command else ""
    done = subprocess.run(
        [sys.executable, "-c", begin + SWITCH], capture_output=True, text=True, timeout=120, check=True,
        env=plain | {"OMP_NUM_THREADS": str(max(2, os.cpu_count() or 1)), "OMP_DISPLAY_ENV": "verbose"},
    )  # fmt: skip
    spinning, sleeping, again = map(float, done.stdout.splitlines()[-1].split())
    assert spinning > 2 * sleeping
    assert again > 2 * sleeping
    # The library calls its own default passive as well, but prints another number of spins for it.
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    spins = f"GOMP_SPINCOUNT = '{wait_policy.POLICY['GOMP_SPINCOUNT']}'"
    assert (spins in done.stderr) == command, "torch's library must have read the choice"


TWO_RUNS = """
import dataclasses, sys, time
from pathlib import Path
from gpt_research.base import machine, shared_cores, wait_policy
wait_policy.choose()
from gpt_research.base.settings import read_yaml
from gpt_research.config import TrainConfig
from gpt_research.training.loop import train
from gpt_research.training.reporter import Reporter

class Notes(Reporter):
    def note(self, text):
        print(text)

others = 0.0
machine.busy_seconds = lambda: time.process_time() + others * time.perf_counter()
shared_cores.LOOKS_EVERY_S = 0.02
config = read_yaml(TrainConfig, Path(sys.argv[1]))
for name, others in (("alone", 0.0), ("beside", machine.usable_cores())):
    print(name)
    train(dataclasses.replace(config, out=f"{config.out}-{name}"), Notes())
"""


@needs_gnu_openmp
def test_a_run_beside_others_says_so_once_and_learns_the_same(tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(tiny_run, max_steps=4, eval_interval=0, save_interval=0)
    write_yaml(config, path := Path(f"{config.out}.yaml"))
    plain = {name: value for name, value in os.environ.items() if name not in wait_policy.USERS_CHOICE}
    done = subprocess.run(
        [sys.executable, "-c", TWO_RUNS, str(path)], env=plain | {"OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone, _, beside = done.stdout.partition("beside")
    assert "threads sleep" not in alone
    assert beside.count("threads sleep while they wait for each other") == 1
    metrics = [
        [(line["loss"], line["grad_norm"]) for line in read_metrics(Path(f"{config.out}-{name}")) if "loss" in line]
        for name in ("alone", "beside")
    ]
    assert len(metrics[0]) == config.max_steps
    assert metrics[0] == metrics[1]
