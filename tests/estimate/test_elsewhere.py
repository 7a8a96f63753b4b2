"""A run is planned for a device that is not here, and a hopeless one is called so before its first
step.
"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gpt_research.base import runtime as runtimes
from gpt_research.base import startup
from gpt_research.base.cards import CARDS
from gpt_research.base.errors import UserError
from gpt_research.cli import command_line as cli
from gpt_research.cli.terminal_reporter import TerminalReporter
from gpt_research.config import TrainConfig
from gpt_research.estimate import cards, first_look
from gpt_research.estimate.time_estimate import repeats_sentence
from gpt_research.training.assembly import plan_execution
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.reporter import Beginning


def plan(capsys: pytest.CaptureFixture[str], *flags: str) -> dict:
    assert cli.main(["plan", "--data", "nowhere", "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_elsewhere_is_the_peak_times_the_share_that_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--on", "a100", "--mfu", "0.5", "--eval_interval", "0", "--eval_tokens", "1")
    assert found["tokens_per_s"] == pytest.approx(0.5 * 312e12 / found["flops_per_token"])
    assert found["hours"] == pytest.approx(20_000 * 262_144 / found["tokens_per_s"] / 3600, rel=1e-3)
    assert found["cost"] == pytest.approx(found["hours"] * 1.39)
    assert any("March 2026" in remark for remark in found["remarks"])
    eight = plan(capsys, "--on", "8xA100", "--mfu", "0.5", "--eval_interval", "0", "--eval_tokens", "1")
    assert eight["hours"] == pytest.approx(found["hours"] / 8)
    assert eight["cost"] == pytest.approx(found["cost"])


def test_a_price_of_ones_own_counts_and_an_unknown_one_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(capsys, "--on", "h100", "--price_per_hour", "5")["cost"] == pytest.approx(
        5 * plan(capsys, "--on", "h100")["hours"]
    )
    unknown = plan(capsys, "--on", "l4")
    assert "cost" not in unknown
    assert any("--price_per_hour" in remark for remark in unknown["remarks"])


def test_the_table_says_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--data", "nowhere", "--on", "RTX-4090"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "on 1 x 4090, bf16" in said
    assert "MFU 40% of 165 TFLOP/s" in said
    assert "Computed, not measured: an MFU of 40% is assumed (--mfu)" in said
    assert "at 0.34 an hour" in said
    assert "GB are free" not in said, "the disk of this machine is not that of the other"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--on", "h1000"], 'Did you mean "h100"?'),
        (["--on", "0xh100"], 'on is "0xh100"'),
        (["--on", "t4", "--precision", "bf16"], "a T4 has none. Use fp16."),
        (["--on", "a100", "--precision", "fp31"], "precision is"),
        (["--on", "a100", "--mfu", "40"], "mfu is 40.0, but it must be above 0 and at most 1"),
    ],
)
def test_a_device_that_cannot_be_is_one_sentence(
    flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", *flags]) == 2
    assert says in capsys.readouterr().err


def test_a_micro_batch_that_does_not_fit_the_card_becomes_smaller(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--on", "4090", "--micro_batch", "128")
    assert found["micro_batch"] < 128
    assert found["memory_bytes"] < 24e9
    assert f"micro_batch 128 does not fit a 4090: take {found['micro_batch']}." in found["remarks"]
    huge = ["--model.n_layer", "48", "--model.n_embd", "1600", "--model.n_head", "25"]
    assert any("It does not fit a T4" in remark for remark in plan(capsys, "--on", "t4", *huge)["remarks"])


def test_every_card_can_be_planned_for() -> None:
    assert cards.DOLLARS_AN_HOUR.keys() <= {card.key for card in CARDS}
    for card in CARDS:
        for name in (card.key, card.key.upper(), *card.names):
            found = cards.elsewhere(f"2x{name}", "auto")
            assert found.card is card, name
            assert found.precision == ("bf16" if card.has_bf16 else "fp16")
            assert found.peak_flops == 2e12 * card.sixteen
    assert cards.elsewhere("RTX 6000 Ada", "auto").card.key == "6000ada"
    assert cards.elsewhere("NVIDIA RTX PRO 6000", "auto").card.key == "pro6000"
    assert cards.elsewhere("a100", "fp32").peak_flops == 156e12
    with pytest.raises(UserError):
        cards.elsewhere("", "auto")


def test_a_plan_for_a_card_does_not_ask_for_the_compiler_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert plan_execution(TrainConfig(micro_batch=64), cards.elsewhere("h100", "auto")).compiled == "whole"


def beginning(config: TrainConfig, peak_flops: float = 1e12) -> Beginning:
    runtime = startup.start("cpu", "fp32")
    return Beginning(
        config, runtime, plan_execution(config, runtime), 10_000, 1_000_000, {}, 1, 0, 60_000.0, peak_flops
    )


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_long_run_on_a_cpu_is_measured_by_one_pass(tiny_run: TrainConfig, positions: str) -> None:
    model = dataclasses.replace(tiny_run.model, positions=positions, vocab_size=300)
    config = dataclasses.replace(tiny_run, model=model, max_steps=2_000_000_000)
    state = torch.random.get_rng_state()
    found = first_look.first_look(beginning(config))
    assert torch.equal(torch.random.get_rng_state(), state), "training draws its own numbers"
    assert found is not None
    assert found.hopeless
    assert 10 < found.tokens_per_s < 1e7
    assert first_look.first_look(beginning(tiny_run)) is None, "a short run needs no look"


def test_training_says_before_its_first_step_that_it_is_hopeless(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt_research.base.peak_flops.measured_flops", lambda runtime: 1e9)
    endless = dataclasses.replace(tiny_run, max_steps=2_000_000_000, eval_interval=0, save_interval=0)
    terminal = io.StringIO()
    reporter = TerminalReporter(Console(file=terminal, soft_wrap=True, highlight=False))
    train(endless, reporter, until=1)
    reporter.close()
    before, _, after = terminal.getvalue().partition("step 1 ")
    assert "Hopeless as it is: " in before
    assert "--config tiny-cpu" in before
    assert "plan --on a100" in before
    assert "The run would read plays" in before
    assert "Hopeless" not in after


def test_a_look_changes_nothing_that_is_learnt(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = dataclasses.replace(tiny_run, out=tiny_run.out + "-looked")
    train(tiny_run)
    monkeypatch.setattr(first_look, "LONG_S", 0.0)
    reporter = TerminalReporter(Console(file=io.StringIO()))
    train(looked, reporter)
    reporter.close()
    one, two = ([m["loss"] for m in read_metrics(Path(c.out)) if "loss" in m] for c in (tiny_run, looked))
    assert one == two


def test_text_that_is_read_too_often_is_warned_of() -> None:
    said = repeats_sentence({"plays": 3366.4, "tales": 4.0}, 20_000)
    assert "The run would read plays 3,366 times." in said
    assert "--max_steps 95." in said, "16 passes"
    assert repeats_sentence({"plays": 16.0}, 20_000) == ""
