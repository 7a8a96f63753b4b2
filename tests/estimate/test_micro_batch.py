"""Which micro-batch a run takes where none is named. The card is made up."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gpt_research.base import runtime as runtimes
from gpt_research.base.settings import find_config, read_yaml
from gpt_research.config import TrainConfig
from gpt_research.estimate import first_steps, micro_batch, probe
from gpt_research.estimate.micro_batch import as_probed, resolve_micro_batch
from gpt_research.estimate.probe import Measurement, probe_micro_batches
from gpt_research.training.assembly import plan_execution
from gpt_research.training.reporter import Beginning

CARD = runtimes.Runtime(torch.device("cuda", 0), "bf16")
PRESET = read_yaml(TrainConfig, find_config("gpt2-124m"))


@pytest.fixture
def h100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self: 80 << 30)
    monkeypatch.setattr(runtimes.Runtime, "missing_for_compile", lambda self: None)
    monkeypatch.setattr(probe, "free_memory", lambda runtime: 80 << 30)


def test_a_number_that_is_named_stays(tiny_run: TrainConfig) -> None:
    assert resolve_micro_batch(tiny_run, print) is tiny_run


@pytest.mark.parametrize(("tokens_per_step", "expected"), [(1024, 8), (32 * 6, 6), (32, 1)])
def test_on_a_cpu_nothing_is_measured_where_none_is_named(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch, tokens_per_step: int, expected: int
) -> None:
    monkeypatch.setattr(micro_batch, "probe_micro_batches", pytest.fail)
    config = dataclasses.replace(tiny_run, micro_batch=None, tokens_per_step=tokens_per_step)  # type: ignore[arg-type]
    assert resolve_micro_batch(config, print).micro_batch == expected


@pytest.mark.usefixtures("h100")
def test_on_a_card_it_is_measured_where_none_is_named(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batch, "start", lambda device, precision, **_: CARD)
    measured = [Measurement(2, 100.0, 1.0, 10), Measurement(4, 190.0, 1.0, 20), Measurement(8, 191.0, 1.0, 40)]
    monkeypatch.setattr(micro_batch, "probe_micro_batches", lambda *_: probe.Sweep(measured, 80 << 30, 8))
    notes: list[str] = []
    config = dataclasses.replace(tiny_run, micro_batch=None)  # type: ignore[arg-type]
    assert resolve_micro_batch(config, notes.append).micro_batch == 4
    assert "micro_batch auto: 4 of 2, 4, 8 tried" in notes[0]


@pytest.mark.usefixtures("h100")
def test_a_long_run_is_tried_compiled_and_a_short_one_plain() -> None:
    sizes = [8, 64, 512]
    assert as_probed(PRESET, CARD, sizes).compile is True
    assert as_probed(dataclasses.replace(PRESET, max_steps=10), CARD, sizes).compile is False
    assert as_probed(dataclasses.replace(PRESET, compile=False), CARD, sizes).compile is False


@pytest.mark.usefixtures("h100")
@pytest.mark.parametrize("smallest_fits", [True, False])
def test_compiled_tries_begin_at_8_and_end_with_plain_ones_if_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, smallest_fits: bool
) -> None:
    tried: list[tuple[bool | None, list[int]]] = []

    def sweep(config: TrainConfig, runtime: object, sizes: list[int], seconds: float, room: float) -> list[Measurement]:
        tried.append((config.compile, sizes))
        return [Measurement(sizes[0], 1.0, 1.0, 1)] if smallest_fits or not config.compile else []

    monkeypatch.setattr(probe, "_sweep_here", sweep)
    probe_micro_batches(dataclasses.replace(PRESET, compile=True), CARD, [1, 2, 4, 8, 16], 20.0)
    assert tried == [(True, [8, 16]), (False, [1, 2, 4, 8, 16])][: 1 if smallest_fits else 2]


@pytest.mark.usefixtures("h100")
def test_a_run_that_uses_little_of_its_card_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def sentence(peak: float, size: int) -> str:
        monkeypatch.setattr(runtimes.Runtime, "peak_memory", lambda self: int(peak))
        config = dataclasses.replace(PRESET, micro_batch=size)
        plan = plan_execution(config, CARD)
        begun = Beginning(
            config,
            CARD,
            plan,
            parameters=0,
            tokens=0,
            epochs={},
            corpora=1,
            start_step=0,
            flops_per_token=0,
            peak_flops=0,
        )
        return first_steps.about_the_card(begun)

    # The peaks are those that tests/traced recorded.
    said = sentence(3.66e9, 8)
    assert "uses 3.7 of its card's 86 GB with micro_batch 8. --micro_batch auto tries up to 256" in said
    assert "32 times as many sequences" in said
    assert not sentence(30e9, 128)
