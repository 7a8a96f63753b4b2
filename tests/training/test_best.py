"""The best evaluation is kept and found, and a run that gains nothing stops, resumed or not."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import find_step, load_newest, saved_steps
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.run import Run
from gpt_research.training.best import BestEvaluation
from gpt_research.training.loop import Trainer, train
from gpt_research.training.validation import Loss

LOSSES = [5.0, 4.0, 3.0, 3.5, 3.4, 3.2, 3.3, 2.0]


@pytest.fixture
def watched(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A run that is evaluated at every step, with losses that are given, and never due to save."""
    monkeypatch.setattr(Trainer, "evaluate", lambda self: {"all": Loss(100 * LOSSES[evaluations(self)], 100, 100)})
    monkeypatch.setattr("gpt_research.training.loop.draw_loss_curve", lambda run: None)  # it takes longer than a step
    return dataclasses.replace(
        tiny_run, max_steps=8, eval_interval=1, save_interval=0, keep_last=1, keep_best=True, log_interval=8
    )


def evaluations(trainer: Trainer) -> int:
    """Return how many evaluations the run has logged."""
    return (Path(trainer.config.out) / "metrics.jsonl").read_text().count("val_loss")


def test_the_best_checkpoint_stays_and_is_found_by_name(
    watched: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(watched, until=6)
    run = Path(watched.out)
    assert saved_steps(run) == [3, 6]
    assert (find_step(run, "best"), find_step(run, "newest"), Run.open(run, step="best").step) == (3, 6, 3)
    assert main(["inspect", str(run), "--step", "best"]) == 0
    printed = capsys.readouterr().out
    assert "3.0000 at step 3" in printed
    assert "│ 6 " not in printed
    arguments = ["--max_new_tokens", "2", "--device", "cpu", "--precision", "fp32", "--json"]
    texts = []
    for step in ("best", "3", "6"):
        assert main(["generate", str(run), "--step", step, *arguments]) == 0
        texts.append(json.loads(capsys.readouterr().out)["logprobs"])
    assert texts[0] == texts[1] != texts[2]
    out = str(run.parent / "exported")
    assert main(["export", str(run), "--step", "best", "--format", "safetensors", "--out", out]) == 0
    assert "at step 3" in Path(out, "README.md").read_text()
    train(watched)  # a better one comes, and the old best makes way
    assert (saved_steps(run), find_step(run, "best")) == ([8], 8)


def test_early_stopping_stops_at_the_same_step_however_often_it_is_interrupted(
    watched: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(watched, early_stopping=3)
    whole = dataclasses.replace(config, out=config.out + "-whole")
    outcome = train(whole)
    assert (outcome.step, outcome.ended_early) == (6, True)
    for until in (2, 4, 5):
        assert train(config, until=until).step == until
    assert (train(config).step, train(config).steps_here) == (6, 0)
    one, two = load_newest(Path(whole.out)), load_newest(Path(config.out))
    assert one is not None
    assert two is not None
    assert one.state == two.state
    assert main(["train", "--resume", config.out]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Stopped early at step 6 of 8: 3 evaluations without a new lowest validation loss." in said
    assert main(["train", "--resume", config.out, "--early_stopping", "0"]) == 0
    assert saved_steps(Path(config.out)) == [8]


def test_without_an_evaluation_none_is_the_best(tiny_run: TrainConfig) -> None:
    train(dataclasses.replace(tiny_run, max_steps=3, eval_interval=2, save_interval=1, keep_last=1), until=1)
    with pytest.raises(UserError, match=r"none is the best. Name one by its step \(1\)"):
        find_step(Path(tiny_run.out), "best")


def test_an_evaluation_is_judged_by_itself_or_by_a_moving_average() -> None:
    plain, smooth = BestEvaluation(), BestEvaluation(smoothing=0.5, patience=2)
    noisy = [4.0, 2.0, 3.9, 2.4, 2.6, 2.7]
    assert [plain.observe(step, loss) for step, loss in enumerate(noisy)] == [True, True, False, False, False, False]
    # By hand: 4, 8/3, 3.371..., 2.853..., 2.722..., 2.710...
    assert [smooth.observe(step, loss) for step, loss in enumerate(noisy[:2])] == [True, True]
    assert smooth.loss == pytest.approx((0.5 * 4 + 2) / 1.5)
    assert not smooth.observe(2, 3.9)
    restored = BestEvaluation(smoothing=0.5, patience=2)
    restored.load_state_dict(json.loads(json.dumps(smooth.state_dict(), allow_nan=False)))
    assert not restored.exhausted
    assert not restored.observe(3, 2.4)
    assert (restored.exhausted, restored.step) == (True, 1)


def test_a_loss_that_is_not_a_number_is_no_gain_and_spoils_nothing() -> None:
    best = BestEvaluation(smoothing=0.9, patience=3)
    assert not best.observe(1, math.nan)
    assert best.observe(2, 3.0)
    assert not best.observe(3, math.inf)
    assert best.observe(4, 2.0)
    assert json.dumps(best.state_dict(), allow_nan=False)


@pytest.mark.parametrize("setting", ["keep_best", "early_stopping"])
def test_what_needs_evaluations_is_refused_without(tiny_run: TrainConfig, setting: str) -> None:
    with pytest.raises(UserError, match=f"{setting} is .*left out if eval_interval is 0"):
        dataclasses.replace(tiny_run, eval_interval=0, **{setting: 1})  # type: ignore[arg-type]
