"""A run whose terminal is closed saves and ends, although nobody takes what it prints."""

from __future__ import annotations

import dataclasses
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training import verify_resume as verify
from gpt_research.training.metrics import read_metrics
from gpt_research.training.reporter import Outcome
from gpt_research.training.signals import catch_stop_signals


def test_sighup_stops_in_order_unless_the_program_ignores_it() -> None:
    announced: list[bool] = []
    with catch_stop_signals(lambda: announced.append(True)) as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal == signal.SIGHUP
        assert announced == [True]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with catch_stop_signals(lambda: announced.append(True)) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_ends_a_comparison_of_several_runs(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []

    def stopped(config: TrainConfig, until: int) -> Outcome:
        parts.append(until)
        return Outcome(Path(config.out), 1, 1, {}, signal.SIGINT)

    monkeypatch.setattr(verify, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        verify.verify_resume(tiny_run, 4)
    assert parts == [4]


@pytest.mark.slow
def test_a_closed_terminal_saves_the_run(tiny_run: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_run, max_steps=1_000_000, eval_interval=0, save_interval=0)
    write_yaml(config, tmp_path / "config.yaml")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gpt_research", "train", "--config", str(tmp_path / "config.yaml")]
    # In a session of its own, with this terminal, as a shell would give it.
    code = f"import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({command[0]!r}, {command})"
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    deadline = time.monotonic() + 120
    while not read_metrics(Path(config.out)):
        assert time.monotonic() < deadline
        assert run.poll() is None
        try:
            os.read(ours, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
    os.close(ours)
    assert run.wait(60) == 128 + signal.SIGHUP
    assert len(saved_steps(Path(config.out))) == 1
