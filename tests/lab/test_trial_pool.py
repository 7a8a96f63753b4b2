"""Processes that take trials: what each has for itself, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from gpt_research.base.errors import UserError
from gpt_research.lab.trial_pool import TrialPool, environments


def test_processes_stay_and_each_has_one_thread() -> None:
    before = set(multiprocessing.active_children())
    with TrialPool(environments(2, cards=False)) as pool:
        found = sorted(pool.results(os.getenv, ["OMP_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]))
        assert found == [("MKL_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1")]
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert not set(multiprocessing.active_children()) - before


def test_a_process_that_ends_too_early_is_said_and_the_others_end() -> None:
    before, began = set(multiprocessing.active_children()), time.monotonic()
    said = "^A process ended with status 3. .* what is done stays"
    with pytest.raises(UserError, match=said), TrialPool([{}, {}]) as pool:
        for _ in pool.results(_sleep_or_end, [60, 0]):
            pass
    assert time.monotonic() - began < 30
    assert not set(multiprocessing.active_children()) - before


def _sleep_or_end(seconds: int) -> None:
    if not seconds:
        os._exit(3)
    time.sleep(seconds)


def test_each_process_takes_a_card_that_the_user_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert environments(2, cards=True) == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert environments(1, cards=True) == [{"CUDA_VISIBLE_DEVICES": "0"}]
