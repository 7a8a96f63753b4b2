"""If one process of a run fails, all end, one tells the user, and nothing is said twice."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from pathlib import Path

import pytest
import torch
from rank_launcher import commands

from gpt_research.base import ranks
from gpt_research.base.ranks import ENDED, FAILURE, LOST, MISTAKE, Words, _verdict
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training.signals import StopTogether

HOST = socket.gethostname()
IN_STEP_3 = """
from gpt_research.training.step import TrainStep
take_step = TrainStep.take_step
def fail(self, step, *arguments):
    if step == 3:
        import os, signal, time, torch
        {fault}
    return take_step(self, step, *arguments)
TrainStep.take_step = fail
"""
OOM = IN_STEP_3.format(fault="raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')")
BUG = IN_STEP_3.format(fault="raise ValueError('a bug in the step')")
KILL = IN_STEP_3.format(fault="os.kill(os.getpid(), signal.SIGKILL)")
KILL_IN_SAVE = """
from gpt_research.checkpoint import saver
import os, signal
saver._write_one_part = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
"""
HANG = IN_STEP_3.format(fault="time.sleep(100)")
WARN = """
import os, warnings
from gpt_research.training import loop
open_inputs = loop.opened_alike
def warn(*arguments):
    warnings.warn(f"process {{os.getpid()}} is slow")
    warnings.warn("{own}")
    return open_inputs(*arguments)
loop.opened_alike = warn
"""


def errors(ranks: list[tuple[int, str]]) -> list[str]:
    """The lines of all ranks that tell the user of an error."""
    return [line for _, text in ranks for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_a_fault_of_one_rank_ends_all_and_is_told_once(tiny_run: TrainConfig, tmp_path: Path) -> None:
    model = dataclasses.replace(tiny_run.model, n_layer=1, n_embd=16)
    config = dataclasses.replace(tiny_run, model=model, micro_batch=4, eval_interval=0, save_interval=2, rank_timeout=3)
    write_yaml(config, tmp_path / "run.yaml")

    def arguments(name: str, *more: str) -> list[str]:
        return ["train", "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / name), *more]

    mistyped = arguments("mistyped", "--learning_rte", "1")
    began = time.monotonic()
    all_mistyped, one_mistyped, no_memory, bug, killed, killed_in_save, hangs, warned, evaluates = commands(
        tmp_path,
        [("", mistyped), ("", mistyped)],
        [("", arguments("mistyped")), ("", mistyped)],
        [("", arguments("oom")), (OOM, arguments("oom"))],
        [("", arguments("bug")), (BUG, arguments("bug"))],
        [("", arguments("killed")), (KILL, arguments("killed"))],
        [("", arguments("save", "--parallel", "fsdp")), (KILL_IN_SAVE, arguments("save", "--parallel", "fsdp"))],
        [("", arguments("hangs")), (HANG, arguments("hangs"))],
        [(WARN.format(own=f"only rank {word}"), arguments("warned")) for word in ("zero", "one")],
        [("", ["evaluate", str(tmp_path / "warned")])] * 2,
    )
    assert time.monotonic() - began < 200
    where = f"error: On host {HOST} (rank 1)"
    assert [code for code, _ in all_mistyped] == [2, 2]
    assert len(errors(all_mistyped)) == 1
    assert errors(all_mistyped)[0].startswith('error: train: unknown setting "learning_rte"')
    assert [code for code, _ in one_mistyped] == [2, 2]
    assert len(errors(one_mistyped)) == 1
    assert errors(one_mistyped)[0].startswith(f'{where}: train: unknown setting "learning_rte"')
    assert [code for code, _ in no_memory] == [2, 2]
    assert len(errors(no_memory)) == 1
    assert errors(no_memory)[0].startswith(f"{where}: Out of memory with micro_batch 4")
    assert [code for code, _ in bug] == [1, 1]
    assert errors(bug) == [f"{where} the program failed (ValueError: a bug in the step), so all processes end."]
    assert "a bug in the step" in bug[1][1]
    assert bug[1][1].count("Traceback") == 1
    assert [code for code, _ in killed] == [2, -9]
    assert len(errors(killed)) == 1
    assert errors(killed)[0].startswith(f"error: Rank 1 on host {HOST} ended without a word")
    assert [code for code, _ in killed_in_save] == [2, -9], "rank 0 does not wait for the other's part"
    assert not saved_steps(tmp_path / "save")
    assert [code for code, _ in hangs] == [2, 2]
    assert len(errors(hangs)) == 1
    assert errors(hangs)[0].startswith(f"error: Rank 1 on host {HOST} did not answer for 3 s")
    assert saved_steps(tmp_path / "killed") == saved_steps(tmp_path / "hangs") == [2]
    assert [code for code, _ in warned] == [0, 0]
    lines = [line for _, text in warned for line in text.splitlines() if line.startswith("warning")]
    assert sum("is slow" in line for line in lines) == 1
    assert "warning: only rank zero" in lines
    assert f"warning (rank 1 on host {HOST}): only rank one" in lines
    assert [code for code, _ in evaluates] == [2, 2]
    assert len(errors(evaluates)) == 1
    assert "one process" in errors(evaluates)[0]


def said(**words: str) -> Words:
    return {"host": "n1", **words}


@pytest.mark.parametrize(
    ("heard", "expected", "code"),
    [
        ({0: said(kind=MISTAKE, text="wrong"), 1: said(kind=MISTAKE, text="wrong")}, "wrong", 2),
        ({0: said(kind=ENDED, text=""), 1: said(kind=MISTAKE, text="wrong")}, "On host n1 (rank 1): wrong", 2),
        (
            {0: said(kind=LOST, text="gloo: closed"), 1: said(kind=MISTAKE, text="wrong")},
            "On host n1 (rank 1): wrong",
            2,
        ),
        (
            {0: said(kind=LOST, text="gloo: closed"), 1: said(kind=FAILURE, text="KeyError: 3")},
            "failed (KeyError: 3)",
            1,
        ),
        ({0: said(kind=LOST, text="gloo: closed by peer")}, "Rank 1 on host b ended without a word", 2),
        ({0: said(kind=LOST, text="gloo: Timed out")}, "Rank 1 on host b did not answer for 9 s", 2),
        (
            {0: said(kind=LOST, text="gloo: Timed out"), 1: said(kind=ENDED, text="")},
            "Rank 1 on host b did not answer for 9 s",
            2,
        ),
        ({0: said(kind=LOST, text="gloo: reset"), 1: said(kind=LOST, text="gloo: reset")}, "lost each other", 2),
    ],
)
def test_what_the_user_is_told_names_the_rank_that_is_the_cause(
    heard: dict[int, Words], expected: str, code: int
) -> None:
    text, found = _verdict(heard, ["a", "b"], 9)
    assert expected in text
    assert found == code


class Pair(Runtime):
    """The view of rank 0 of two; the other never wants to stop."""

    exchanges = 0

    def largest_of_each(self, numbers: list[float]) -> list[float]:  # type: ignore[override]
        type(self).exchanges += 1
        return [float(number) for number in numbers]


def test_ranks_agree_about_once_a_second_and_not_at_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wanted = [0.0], [False]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    runtime = Pair(torch.device("cpu"), "fp32", world_size=2)
    Pair.exchanges = 0
    stops = StopTogether(runtime, lambda: wanted[0])
    for _ in range(20_000):  # passes of a millisecond
        assert not stops()
        clock[0] += 0.001
    assert 20 <= Pair.exchanges <= 40, "twenty seconds have gone"
    wanted[0], passes = True, 0
    while not stops():
        clock[0] += 0.001
        passes += 1
    assert passes < 2000
    assert stops()
    # Passes of a second are asked about each time.
    wanted[0], Pair.exchanges = False, 0
    slow = StopTogether(runtime, lambda: wanted[0])
    for _ in range(10):
        assert not slow()
        clock[0] += 1.5
    assert Pair.exchanges >= 9


def test_a_single_process_stops_at_the_very_next_pass() -> None:
    wanted = [False]
    stops = StopTogether(Runtime(torch.device("cpu"), "fp32"), lambda: wanted[0])
    assert not stops()
    wanted[0] = True
    assert stops()


def test_no_thread_asks_the_store_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # Python would end it inside C++, which aborts a process whose work is done.
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    ranks.join(0, 1, torch.device("cpu"))
    watchers = [thread for thread in threading.enumerate() if thread.name == "ranks"]
    assert len(watchers) == 1
    ranks.leave()
    assert not watchers[0].is_alive()
