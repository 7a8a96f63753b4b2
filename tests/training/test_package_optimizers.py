"""The optimizers of pytorch-optimizer: which can be had, what they get, and that runs resume."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_launcher import train_on_ranks

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import Checkpoint, load_checkpoint, load_newest
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors, restore_model
from gpt_research.cli.command_line import main, parse
from gpt_research.config import OptimizerConfig, TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.optimizer_check import check_optimizer
from gpt_research.training.optimizer_state import optimizer_tensors, optimizer_values, restore_optimizer
from gpt_research.training.optimizers import OPTIMIZERS, make_optimizer, state_bytes
from gpt_research.training.package_optimizers import ROW_BY_ROW, _acts_on_rows, package_class

pytest.importorskip("pytorch_optimizer", reason="the extra optim is not installed")
SHAPE = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=50, tie_weights=False)


def with_optimizer(name: str, options: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    return TrainConfig(optimizer=OptimizerConfig(name, options or {}, **changes), learning_rate=1e-2)


def take(model: GPT, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        tokens = torch.randint(0, 50, (2, 8))
        model(tokens, tokens).backward()
        optimizer.step()
        optimizer.zero_grad()


KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {},
    "lion": {},
    "adan": {},
    "adafactor": {},  # state in bf16, and numbers
    "adashift": {"keep_num": 3},  # a queue of gradients
    "aggmo": {"betas": [0.0, 0.9]},  # momenta in a dictionary
    "soap": {"precondition_frequency": 2},  # lists of matrices, transposed in memory
    "shampoo": {},
    "kron": {"balance_prob": 0.5},  # numpy's random numbers
    "sara": {},  # Python's random numbers
    "prodigy": {"d0": 1e-2},  # its rate is in the groups
    "madgrad": {},  # state that belongs to no parameter
    "laprop": {},
    "stableadamw": {},
    "schedulefreeadamw": {},
    "schedulefreesgd": {},
    "normuon": {},
    "dash": {},  # dictionaries within lists
}
"""Optimizers that keep their state in different ways, with options that bring it out soon."""


@pytest.mark.parametrize("name", KINDS)
def test_an_optimizer_goes_on_from_the_files_of_a_checkpoint_bit_for_bit(name: str, tmp_path: Path) -> None:
    config = with_optimizer(name, KINDS[name], embedding_lr_scale=3.0)
    check_optimizer(config)
    one, other = GPT(SHAPE, 1), GPT(SHAPE, 2)
    first, second = make_optimizer(one, config), make_optimizer(other, config)
    take(one, first, range(5))
    values = {"optimizer": optimizer_values(first, one)}
    save_checkpoint(tmp_path, Checkpoint(5, model_tensors(one), optimizer_tensors(first, one), values), keep_last=1)
    saved = load_checkpoint(tmp_path / "checkpoints/step_00000005")
    restore_model(other, saved.model, "")
    with torch.no_grad():  # padding rows are not saved
        other.load_state_dict(one.state_dict())
    random.seed(0)
    np.random.seed(0)
    restore_optimizer(second, other, saved.optimizer, saved.state["optimizer"])
    for model, optimizer in ((one, first), (other, second)):
        take(model, optimizer, range(5, 11))
    for (weight, ours), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), weight
        assert torch.isfinite(ours).all()
    tensors, again = optimizer_tensors(first, one), optimizer_tensors(second, other)
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)
    assert optimizer_values(first, one) == optimizer_values(second, other)


def test_state_of_adamw_and_muon_is_all_tensors() -> None:
    for name in ("adamw", "muon"):
        model = GPT(SHAPE, 1)
        optimizer = make_optimizer(model, with_optimizer(name))
        take(model, optimizer, range(2))
        assert optimizer_values(optimizer, model) == {}


@pytest.mark.parametrize("name", ["prodigy", "soap"])
def test_an_interrupted_run_equals_an_uninterrupted_one(name: str, tiny_run: TrainConfig) -> None:
    settings = OptimizerConfig(name, {"d0": 1e-3} if name == "prodigy" else {"precondition_frequency": 2})
    config = dataclasses.replace(tiny_run, optimizer=settings, eval_interval=0, max_steps=6, save_interval=0)
    whole, parts = (dataclasses.replace(config, out=f"{config.out}-{end}") for end in ("whole", "parts"))
    train(whole)
    train(parts, until=3)
    train(parts)
    one, other = load_newest(Path(whole.out)), load_newest(Path(parts.out))
    assert one is not None
    assert other is not None
    assert one.state == other.state
    for kind in ("model", "optimizer"):
        tensors, again = getattr(one, kind), getattr(other, kind)
        assert tensors.keys() == again.keys()
        assert all(torch.equal(tensors[key], again[key]) for key in tensors)


def test_a_schedule_free_run_is_evaluated_and_used_at_its_average(
    tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(
        tiny_run, optimizer=OptimizerConfig("ScheduleFreeAdamW"), schedule="constant", learning_rate=1e-2
    )
    often, parts = (
        dataclasses.replace(config, out=f"{config.out}-{name}", eval_interval=every)
        for name, every in (("often", 4), ("parts", 6))
    )
    train(often)
    train(parts, until=5)
    train(parts)
    one, other = load_newest(Path(often.out)), load_newest(Path(parts.out))
    assert one is not None
    assert other is not None
    assert one.ema is not None
    assert other.ema is not None
    beta = 0.9
    for name, y in one.model.items():
        assert torch.equal(y, other.model[name])  # neither evaluations nor interruptions change training
        assert torch.equal(one.ema[name], other.ema[name])
        z = one.optimizer[f"z/{name}"][: len(y)]
        torch.testing.assert_close(y, beta * one.ema[name] + (1 - beta) * z)
    line = [line for line in read_metrics(Path(often.out)) if "val_loss" in line][-1]
    assert line["val_loss_ema"] != line["val_loss"]
    assert main(["evaluate", often.out, "--device", "cpu", "--max_tokens", "512"]) == 0
    assert "averaged weights" in capsys.readouterr().out
    with pytest.raises(UserError, match="ema_decay"):
        train(dataclasses.replace(config, out=f"{config.out}-both", ema_decay=0.9))


def test_groups_have_their_rates_and_decay_and_options_reach_the_optimizer() -> None:
    config = with_optimizer(
        "Lion", {"betas": [0.8, 0.9], "cautious": True}, embedding_lr_scale=4.0, head_weight_decay=0.5
    )
    optimizer = make_optimizer(GPT(SHAPE, 1), config)
    groups = {group["kind"]: group for group in optimizer.param_groups}
    assert type(optimizer).__name__ == "Lion"
    assert {kind: group["weight_decay"] for kind, group in groups.items()} == {
        "matrix": 0.1, "embedding": 0.1, "head": 0.5, "vector": 0.0,
    }  # fmt: skip
    assert groups["embedding"]["lr_scale"] == 4.0
    assert all(group["betas"] == (0.8, 0.9) and group["weight_decouple"] for group in groups.values())
    muons = make_optimizer(GPT(SHAPE, 1), with_optimizer("normuon"))
    assert {group["kind"]: (group["use_muon"], group["lr_scale"]) for group in muons.param_groups} == {
        "matrix": (True, 1.0), "embedding": (False, 0.2), "head": (False, 0.2), "vector": (False, 0.2),
    }  # fmt: skip


def test_options_are_flags_with_types_and_keys_of_a_file(tmp_path: Path) -> None:
    flags = ["--optimizer.options.eps", "1e-6", "--optimizer.options.cautious", "true", "--optimizer.options.n", "3"]
    options = parse("train", ["--optimizer.name", "lion", *flags]).optimizer.options
    assert options == {"eps": 1e-6, "cautious": True, "n": 3}
    assert [type(value) for value in options.values()] == [float, bool, int]
    file = tmp_path / "settings.yaml"
    file.write_text("optimizer:\n  name: adan\n  options:\n    betas: [0.9, 0.8, 0.7]\n    eps: 1.0e-7\n")
    assert parse("train", ["--config", str(file)]).optimizer.options == {"betas": [0.9, 0.8, 0.7], "eps": 1e-7}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lyon", {}, "must be one of adamw, muon, or an optimizer of pytorch-optimizer.*lion"),
        ("lion", {"cautiously": True}, "options.cautiously is no option of lion"),
        ("lion", {"beta": 0.9}, 'options.beta is no option of lion.*Did you mean "betas"'),
        ("lion", {"lr": 0.9}, "options.lr is a setting of its own: --learning_rate"),
        ("lion", {"betas": [2.0, 0.9]}, "does not take these settings"),
        ("lbfgs", {}, "closure"),
        ("alig", {}, "closure"),
        ("sam", {}, "wraps another optimizer"),
        ("Lookahead", {}, "wraps another optimizer"),
        ("lomo", {}, "needs the model itself"),
        ("adahessian", {}, "second derivatives"),
        ("spectralsphere", {}, "its step fails"),
        ("scalableshampoo", {}, "could not be resumed.*PreConditioner"),
        ("stablespam", {}, "could not be resumed.*outside its state"),
        ("ranger21", {}, "needs optimizer.options.num_iterations"),
        ("adamw", {"eps": 1e-6}, "adamw has settings instead"),
    ],
)
def test_what_cannot_take_our_steps_is_refused_in_a_sentence(name: str, options: dict[str, Any], message: str) -> None:
    config = with_optimizer(name, options)

    def build() -> None:
        check_optimizer(config)
        make_optimizer(GPT(SHAPE, 1), config)

    with pytest.raises(UserError, match=message):
        build()


def test_a_refusal_comes_before_anything_is_written(tiny_run: TrainConfig) -> None:
    with pytest.raises(UserError, match="closure"):
        train(dataclasses.replace(tiny_run, optimizer=OptimizerConfig("lbfgs")))
    assert not Path(tiny_run.out).exists()


def test_without_the_package_the_command_that_installs_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(UserError, match=r"must be one of adamw, muon.*pip install .*optim"):
        check_optimizer(with_optimizer("lion"))


def test_the_trial_and_the_count_of_bytes_draw_no_random_number() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    check_optimizer(with_optimizer("adan"))
    assert state_bytes(with_optimizer("adan")) == 16
    assert state_bytes(with_optimizer("lion")) == 4
    assert state_bytes(with_optimizer("soap")) == 8 + 16  # of a square matrix: two more pairs of its size
    assert torch.equal(torch.get_rng_state(), before)


def test_only_optimizers_that_act_on_rows_alone_may_be_sharded() -> None:
    assert all(_acts_on_rows(package_class(name, OPTIMIZERS), {"lr": 1e-3}) for name in ROW_BY_ROW)
    # Others of the package, and one of these with an option that looks at the whole matrix.
    assert not _acts_on_rows(package_class("lamb", OPTIMIZERS), {"lr": 1e-3})
    assert not _acts_on_rows(package_class("lion", OPTIMIZERS), {"lr": 1e-3, "cautious": True})


@pytest.mark.slow
def test_a_sharded_run_takes_the_same_steps(tiny_run: TrainConfig) -> None:
    model = dataclasses.replace(tiny_run.model, dropout=0.0)
    config = dataclasses.replace(tiny_run, model=model, micro_batch=2, max_steps=6, eval_interval=0, learning_rate=1e-3)
    names = ("adan", "schedulefreeadamw")  # a list of moments, and two points
    runs = {name: dataclasses.replace(config, optimizer=OptimizerConfig(name)) for name in names}
    alone = {name: dataclasses.replace(run, out=f"{run.out}-{name}") for name, run in runs.items()}
    sharded = {name: dataclasses.replace(run, out=f"{run.out}-{name}-2", parallel="fsdp") for name, run in runs.items()}
    for run in alone.values():
        train(run)
    train_on_ranks((sharded[names[0]], 2, 6), (sharded[names[1]], 2, 4), (sharded[names[1]], 2, 6))
    for name in names:
        one, other = load_newest(Path(alone[name].out)), load_newest(Path(sharded[name].out))
        assert one is not None
        assert other is not None
        assert one.state.get("optimizer") == other.state.get("optimizer")
        for kind in ("model", "optimizer", *(["ema"] if one.ema is not None else [])):
            ours, theirs = getattr(one, kind), getattr(other, kind)
            assert ours.keys() == theirs.keys()
            for key in ours:
                torch.testing.assert_close(theirs[key], ours[key], rtol=1e-3, atol=1e-5, msg=f"{name} {key}")
