"""What a user writes for an arm becomes its settings, and what makes no sense is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_runs import BASE

from gpt_research.base.errors import UserError
from gpt_research.lab.arms import at_horizon, folder_name, make_arms
from gpt_research.lab.sweep import parse_axis


def test_an_arm_changes_what_it_names_and_nothing_else() -> None:
    _, named, unnamed = make_arms(
        BASE, ["big steps: optimizer.name=muon,learning_rate=2e-2", "model.positions=rope, model.bias=false"]
    )
    assert (named.name, unnamed.name) == ("big steps", "model.positions=rope, model.bias=false")
    assert named.changes == {"optimizer.name": "muon", "learning_rate": 0.02}
    assert unnamed.changes == {"model.positions": "rope", "model.bias": False}
    assert (named.config.optimizer.name, named.config.learning_rate) == ("muon", 0.02)
    assert named.config.model == BASE.model
    assert named.folder == "big_steps"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["learning_rate=6e-4"], "the base has already"),
        (["seed=3"], "Leave seed out"),
        (["data=other"], "--set"),
        (["x: weight_decay=0.3,eval_tokens=4096"], "--set"),
        (["x: weight_decay=0.3,early_stopping=2"], "early_stopping=0, so nothing would differ"),
        (["max_steps=50"], "400 tokens, and the base reads 800"),
        (["model.positons=rope"], "positions"),
        (["positions"], "SETTING=VALUE"),
        (["learning_rate=fast"], "learning_rate"),
        (["model.dropout=2"], "model.dropout"),
        (["a: model.bias=false", "b: model.bias=false"], "the same settings as 'a'"),
        (["a b: model.bias=false", "a/b: model.bias=false,model.dropout=0.1"], "Two arms are called"),
        (["base: model.bias=false"], "Two arms are called"),
        (["model.dropout=0.1,model.dropout=0.2"], "twice"),
        (["data.x.y=1"], "data"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: list[str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        make_arms(BASE, changes)
    assert said in str(raised.value)
    assert changes[-1].split(":")[-1].strip()[:10] in str(raised.value)


@pytest.mark.parametrize("over", ["seed=1,2,3", "eval_tokens=1024,2048", "keep_best=true,false", "tracker=none,wandb"])
def test_a_sweep_is_over_what_its_runs_may_differ_in(over: str) -> None:
    with pytest.raises(UserError, match=f"--over {over}: "):
        parse_axis(over, 5)


def test_a_batch_may_change_if_the_tokens_do_not() -> None:
    _, arm = make_arms(BASE, ["tokens_per_step=16,max_steps=50"])
    assert arm.config.max_steps == 50


def test_a_shorter_run_has_the_whole_schedule() -> None:
    half = at_horizon(BASE, 0.5, 7, Path("x"))
    assert (half.max_steps, half.warmup_steps, half.seed, half.out) == (50, 5, 7, "x")


def test_folders_have_plain_names() -> None:
    assert folder_name("../a b/c: 1e-3") == "a_b_c_1e-3"
