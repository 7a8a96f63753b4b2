"""Memory that runs out is told in words, also before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.training import loop
from gpt_research.training.loop import train
from gpt_research.training.state import RunState

NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has..."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=["card", "python", "host"])
@pytest.mark.parametrize("place", ["build_step", "restore"])
def test_a_model_that_does_not_fit_is_the_users_to_mend(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    if place == "restore":
        train(tiny_run, until=1)
        monkeypatch.setattr(RunState, "restore", fail)
    else:
        monkeypatch.setattr(loop, "build_step", fail)
    with pytest.raises(UserError, match=r"Out of memory for the model \(.+\)\. .*--parallel fsdp"):
        train(tiny_run)
    assert Path(tiny_run.out).exists() == (place == "restore"), "a run that never began leaves no folder"


def test_another_error_while_the_model_is_built_stays_what_it_is(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(loop, "build_step", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train(tiny_run)
