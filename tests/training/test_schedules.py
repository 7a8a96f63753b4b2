"""The learning rate warms up from above zero, peaks where promised and ends where promised."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import load_newest, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.schedules import SCHEDULES, Horizon, learning_rates

CONFIG = TrainConfig(max_steps=1001, warmup_steps=100, learning_rate=1.0, min_lr_ratio=0.1)


def test_warm_up_rises_in_a_line_to_the_highest_rate() -> None:
    assert learning_rates(CONFIG)(0) == pytest.approx(0.01)
    assert learning_rates(CONFIG)(49) == pytest.approx(0.5)
    assert learning_rates(CONFIG)(99) == learning_rates(CONFIG)(100) == 1.0


def test_cosine_decays_to_the_lowest_rate_at_the_last_step() -> None:
    assert learning_rates(CONFIG)(550) == pytest.approx(0.55)
    assert learning_rates(CONFIG)(325) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert learning_rates(CONFIG)(1000) == pytest.approx(0.1)


def test_linear_and_constant_are_what_they_say() -> None:
    linear = dataclasses.replace(CONFIG, schedule="linear")
    assert learning_rates(linear)(325) == pytest.approx(0.775)
    assert learning_rates(linear)(1000) == pytest.approx(0.1)
    assert learning_rates(dataclasses.replace(CONFIG, schedule="constant"))(1000) == 1.0


@pytest.mark.parametrize(("shape", "halfway"), [("linear", 0.5), ("1-sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)])
def test_wsd_stays_and_then_falls_in_its_share_of_the_steps(shape: Any, halfway: float) -> None:
    config = dataclasses.replace(CONFIG, max_steps=1000, schedule="wsd", decay_ratio=0.2, decay_shape=shape)
    rate = learning_rates(config)
    assert learning_rates(config).steps_before_decay == 800
    assert {rate(step) for step in range(100, 800)} == {1.0}
    assert rate(800) < 1.0  # the first step after the checkpoint
    assert rate(899) == pytest.approx(0.1 + 0.9 * halfway)
    falling = [rate(step) for step in range(799, 1000)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize(("steps", "warmup"), [(2, 0), (2, 1), (5, 4), (7, 2), (1000, 0), (997, 100)])
@pytest.mark.parametrize("lowest", [0.0, 0.1, 0.3])
def test_the_last_step_has_exactly_the_lowest_rate(schedule: str, steps: int, warmup: int, lowest: float) -> None:
    config = TrainConfig(max_steps=steps, warmup_steps=warmup, schedule=schedule, min_lr_ratio=lowest)
    rate = learning_rates(config)
    assert rate(steps - 1) == config.learning_rate * lowest
    assert all(rate(step) > config.learning_rate * lowest for step in range(warmup, steps - 1))


def test_a_decay_of_all_steps_or_none_is_sound() -> None:
    config = dataclasses.replace(CONFIG, schedule="wsd", decay_ratio=1.0)
    assert learning_rates(config).steps_before_decay == 100  # the warm-up stays as it is
    assert learning_rates(config)(99) == 1.0
    none = dataclasses.replace(config, decay_ratio=0.0)
    assert learning_rates(none).steps_before_decay == 0
    assert learning_rates(none)(1000) == 1.0
    assert learning_rates(dataclasses.replace(config, max_steps=1, warmup_steps=0))(0) == 1.0


def test_no_warm_up_begins_at_the_highest_rate() -> None:
    assert learning_rates(dataclasses.replace(CONFIG, warmup_steps=0))(0) == 1.0


def test_an_unknown_schedule_is_one_sentence_with_the_closest_name() -> None:
    with pytest.raises(UserError, match=r'schedule is "cosin".*Did you mean "cosine"'):
        learning_rates(dataclasses.replace(CONFIG, schedule="cosin"))


def test_a_schedule_of_a_plugin_takes_the_horizon_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(step: int, horizon: Any) -> float:
        return max(horizon.min_ratio, horizon.fall(1 - horizon.progress(step)) / 2)

    monkeypatch.setitem(SCHEDULES, "halved", halved)
    rate = learning_rates(dataclasses.replace(CONFIG, schedule="halved"))
    assert rate(325) == pytest.approx(0.775 / 2)
    assert halved(1000, Horizon(100, 1001, 0.1)) == 0.1


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_run_may_end_at_a_rate_of_zero(schedule: str, tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(tiny_run, schedule=schedule, min_lr_ratio=0.0, eval_interval=1, save_interval=11)
    train(config)
    lines = read_metrics(Path(config.out))
    rates = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}
    assert rates[12] == 0.0
    losses = {line["step"]: line["val_loss"] for line in lines if "val_loss" in line}
    assert losses[12] == losses[11]  # the last step changed nothing
    assert losses[12] < losses[1]


def test_a_finished_run_goes_on_from_before_its_decay_as_if_it_had_always_been_longer(tiny_run: TrainConfig) -> None:
    short = dataclasses.replace(tiny_run, schedule="wsd", decay_ratio=0.25, keep_last=1, save_interval=2)
    longer = dataclasses.replace(short, max_steps=20)
    whole = dataclasses.replace(longer, out=f"{tiny_run.out}-whole")
    train(whole)
    train(short)
    assert saved_steps(Path(short.out)) == [9, 12]  # 9 comes before the decay, although nothing else saves there
    again = {"resume": short.out, "step": "9"}
    with pytest.raises(UserError, match=r"max_steps: 12 -> 20.*--step 9 --max_steps 20"):
        train(longer)  # the newest checkpoint has decayed
    with pytest.raises(UserError, match="seed"):
        train(dataclasses.replace(longer, seed=5, **again))
    train(dataclasses.replace(longer, **again))
    one, other = load_newest(Path(whole.out)), load_newest(Path(short.out))
    assert one is not None
    assert other is not None
    assert one.state == other.state
    for kind in ("model", "optimizer"):
        ours, theirs = getattr(one, kind), getattr(other, kind)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    numbers = [
        [
            (m["step"], m.get("loss"), m.get("learning_rate"), m.get("val_loss"))
            for m in read_metrics(Path(run.out))
            if "event" not in m
        ]
        for run in (whole, short)
    ]
    # The shorter run also evaluated where it would have ended; those lines were dropped.
    assert numbers[0] == numbers[1]


def test_another_end_is_refused_once_steps_have_fallen_towards_the_old_one(tiny_run: TrainConfig) -> None:
    train(tiny_run, until=8)  # a cosine
    with pytest.raises(UserError, match=r"max_steps: 12 -> 20"):
        train(dataclasses.replace(tiny_run, max_steps=20))
    stable = dataclasses.replace(tiny_run, schedule="wsd", out=f"{tiny_run.out}-wsd")
    train(stable, until=8)
    assert train(dataclasses.replace(stable, max_steps=14)).step == 14
