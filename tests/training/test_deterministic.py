"""`--deterministic` makes the process compute the same bits each time, changes nothing on a CPU,
and is known to whoever reads the weights later.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.utils.deterministic

from gpt_research.base import startup
from gpt_research.base.determinism import WORKSPACE
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.files import load_newest
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.training import verify_resume
from gpt_research.training.assembly import plan_execution
from gpt_research.training.loop import train


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (WORKSPACE, "TORCHINDUCTOR_DETERMINISTIC"):
        monkeypatch.setenv(name, "")  # what the test sets is taken back
        monkeypatch.delenv(name)
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def test_on_a_cpu_the_weights_are_the_same_and_lineage_knows_the_setting(tiny_run: TrainConfig) -> None:
    plain = dataclasses.replace(tiny_run, max_steps=3)
    strict = dataclasses.replace(plain, out=plain.out + "-strict", deterministic=True)
    for config in (plain, strict):
        train(config)
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ[WORKSPACE] == ":4096:8"
    one, two = load_newest(Path(plain.out)), load_newest(Path(strict.out))
    assert one is not None
    assert two is not None
    assert {**one.model, **one.optimizer}.keys() == {**two.model, **two.optimizer}.keys()
    for name, tensor in {**one.model, **one.optimizer}.items():
        assert torch.equal(tensor, {**two.model, **two.optimizer}[name]), name
    assert "deterministic" not in one.lineage
    assert two.lineage["deterministic"] is True


def test_a_gpu_does_not_compile_then_unless_it_is_asked_to(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "missing_for_compile", lambda self: None)
    monkeypatch.setattr(Runtime, "device_memory", lambda self: 80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    card = Runtime(torch.device("cuda", 0), "bf16")
    long_run = dataclasses.replace(tiny_run, max_steps=1_000_000)
    for deterministic, asked_for, compiled in ((False, None, True), (True, None, False), (True, True, True)):
        config = dataclasses.replace(long_run, deterministic=deterministic, compile=asked_for)
        assert (plan_execution(config, card).compiled != "none") == compiled


def test_a_workspace_with_which_products_may_differ_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":0:0")
    with pytest.raises(UserError, match=r':0:0".*Unset it'):
        startup.start("cpu", deterministic=True)
    monkeypatch.setenv(WORKSPACE, ":16:8")
    startup.start("cpu", deterministic=True)
    assert os.environ[WORKSPACE] == ":16:8"


@pytest.mark.parametrize(("flags", "remark"), [([], "with --deterministic"), (["--deterministic"], "in this machine")])
def test_a_run_that_differs_is_told_what_makes_it_equal(
    flags: list[str], remark: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        verify_resume, "verify_resume", lambda config, steps: verify_resume.Verdict(2, ["embedding"], 4, None)
    )
    assert main(["verify-resume", "--steps", "4", *flags]) == 1
    assert remark in capsys.readouterr().out
