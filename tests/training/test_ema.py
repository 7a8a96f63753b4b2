"""The average of the weights is what it says, survives interruption, and is what commands take."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rank_launcher import train_on_ranks

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import load_newest, load_step
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.run import Run
from gpt_research.training.assembly import training_state_bytes
from gpt_research.training.ema import WeightAverage
from gpt_research.training.inputs import TrainingData
from gpt_research.training.loop import Trainer, train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.reporter import Reporter


@pytest.fixture
def averaged(tiny_run: TrainConfig) -> TrainConfig:
    return dataclasses.replace(tiny_run, ema_decay=0.9)


def trainer_of(config: TrainConfig) -> Trainer:
    data = TrainingData.open(config)
    config = dataclasses.replace(config, model=data.model)
    return Trainer(config, startup.start("cpu", config.precision), data, Reporter())


def reference(weights: list[torch.Tensor], decay: float) -> torch.Tensor:
    """The average of the weights after each step, in float64, by the rule of docs/training.md."""
    mean = torch.zeros_like(weights[0], dtype=torch.float64)
    for step, weight in enumerate(weights, start=1):
        share = min(decay, (step - 1) / (step + 9))
        mean = share * mean + (1 - share) * weight.double()
    return mean


@pytest.mark.parametrize("decay", [0.2, 0.9999])
def test_the_average_is_that_of_the_weights_after_each_step(decay: float) -> None:
    model = torch.nn.Linear(3, 2)
    model.saved_rows = dict  # type: ignore[operator,assignment]
    average = WeightAverage(model, decay, torch.device("cpu"))  # type: ignore[arg-type]
    seen: list[torch.Tensor] = []
    for step in range(40):
        skipped = step in (0, 7)  # the weights of a step that was left out count for nothing
        with torch.no_grad():
            model.weight += 0.0 if skipped else torch.randn(2, 3)
        average.update(torch.tensor(skipped))
        seen += [] if skipped else [model.weight.detach().clone()]
        if seen:
            found = dict(average.named_parameters())["weight"].double()
            torch.testing.assert_close(found, reference(seen, decay), rtol=1e-5, atol=1e-6)  # it sums in fp32
    assert average.steps == 38


def test_the_model_gets_its_own_weights_back_to_the_bit(averaged: TrainConfig) -> None:
    trainer = trainer_of(averaged)
    average = trainer.train_step.average
    assert average is not None
    with average.in_place():  # before the first step there is none
        assert average.tensors() is None
    for step in range(3):
        trainer.train_step.take_step(step)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    mean = {name: weight.clone() for name, weight in average.named_parameters()}
    with average.in_place():
        assert all(torch.equal(mean[name], weight) for name, weight in trainer.model.named_parameters())
        assert not all(torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())
    assert all(torch.equal(before[name], weight) for name, weight in trainer.model.state_dict().items())
    assert all(torch.equal(mean[name], weight) for name, weight in average.named_parameters())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_interrupted_average_equals_an_uninterrupted_one(precision: str, averaged: TrainConfig) -> None:
    averaged = dataclasses.replace(averaged, precision=precision, eval_interval=0, max_steps=8)  # type: ignore[arg-type]
    whole, parts, plain = (dataclasses.replace(averaged, out=f"{averaged.out}-{name}") for name in ("w", "p", "n"))
    train(whole)
    train(parts, until=3)
    train(parts)
    train(dataclasses.replace(plain, ema_decay=0.0))
    one, other, without = (load_newest(Path(run.out)) for run in (whole, parts, plain))
    assert one is not None
    assert other is not None
    assert without is not None
    assert one.ema is not None
    assert other.ema is not None
    assert one.state == other.state
    assert one.model.keys() == one.ema.keys()
    for name in one.model:
        assert torch.equal(one.model[name], other.model[name])
        assert torch.equal(one.ema[name], other.ema[name])
        assert torch.equal(one.model[name], without.model[name])  # it takes no part in training
    assert without.ema is None


def test_evaluations_and_the_best_checkpoint_are_those_of_the_average(averaged: TrainConfig) -> None:
    config = dataclasses.replace(averaged, learning_rate=3e-2, eval_interval=3, keep_best=True, warmup_steps=0)
    train(config)
    lines = [line for line in read_metrics(Path(config.out)) if "val_loss" in line]
    assert all({"val_bits_per_byte", "val_loss_ema", "val_bits_per_byte_ema"} <= line.keys() for line in lines)
    assert all(line["val_loss_ema"] != line["val_loss"] for line in lines)
    checkpoint = load_step(Path(config.out), "best")
    assert checkpoint is not None
    lowest = min(lines, key=lambda line: line["val_loss_ema"])
    assert checkpoint.step == lowest["step"]
    assert checkpoint.state["validation"]["best"]["loss"] == lowest["val_loss_ema"]


def bits_per_byte(run: str, *flags: str) -> float:
    assert main(["evaluate", run, "--device", "cpu", "--max_tokens", "512", *flags]) == 0
    return float(json.loads((Path(run) / "evaluation.json").read_text())["overall"]["bits_per_byte"])


def test_each_command_takes_the_average_or_the_weights_of_the_step(
    averaged: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = dataclasses.replace(averaged, eval_interval=0)
    train(averaged)
    run = averaged.out
    last = [line for line in read_metrics(Path(run)) if "val_loss" in line][-1]
    assert bits_per_byte(run, "--ema", "false") == pytest.approx(last["val_bits_per_byte"], rel=1e-5)
    assert "averaged" not in capsys.readouterr().out
    assert bits_per_byte(run) == bits_per_byte(run, "--ema") == pytest.approx(last["val_bits_per_byte_ema"], rel=1e-5)
    assert "averaged weights" in capsys.readouterr().out
    texts = []
    for flags in ([], ["--ema"], ["--ema", "false"]):
        assert main(["generate", run, "--device", "cpu", "--max_new_tokens", "60", "--precision", "fp32", *flags]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    for name, flags in (("mean", []), ("raw", ["--ema", "false"])):
        assert main(["export", run, "--format", "safetensors", "--out", str(tmp_path / name), *flags]) == 0
    assert "the moving average over steps" in (tmp_path / "mean/README.md").read_text()
    assert (tmp_path / "mean/model.safetensors").read_bytes() != (tmp_path / "raw/model.safetensors").read_bytes()
    assert main(["compare", run, run, "--ema", "false"]) == 0
    checkpoint = load_newest(Path(run))
    assert checkpoint is not None
    assert checkpoint.ema is not None
    for ema, weights in ((None, checkpoint.ema), (False, checkpoint.model)):
        tuned = dataclasses.replace(averaged, out=str(tmp_path / f"tuned-{ema}"), init_from=run, ema=ema, ema_decay=0.0)
        train(tuned, until=1)
        first = load_step(Path(tuned.out), "0")
        assert first is not None
        assert all(torch.equal(first.model[name], weights[name]) for name in weights)
        assert first.lineage["init_from"].get("ema", False) == (ema is None)
        with pytest.raises(UserError, match="no averaged weights"):
            Run.open(tuned.out, ema=True)


def test_an_average_that_begins_later_does_not_have_what_was_before(averaged: TrainConfig) -> None:
    train(dataclasses.replace(averaged, ema_decay=0.0), until=6)
    with pytest.raises(UserError, match="ema_decay"):
        train(averaged)
    train(dataclasses.replace(averaged, allow_change=True), until=7)
    checkpoint = load_newest(Path(averaged.out))
    assert checkpoint is not None
    assert checkpoint.ema is not None
    assert all(torch.equal(checkpoint.ema[name], checkpoint.model[name]) for name in checkpoint.model)
    assert checkpoint.state["ema_steps"] == 1


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_average_is_noticed(damage: str, averaged: TrainConfig) -> None:
    train(averaged, until=2)
    open_run: Callable[[], Run] = lambda: Run.open(averaged.out, step="2")  # noqa: E731
    open_run()
    file = Path(averaged.out) / "checkpoints/step_00000002/ema.safetensors"
    content = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="damaged"):
        open_run()


def test_the_average_counts_in_estimates(averaged: TrainConfig) -> None:
    plain = dataclasses.replace(averaged, ema_decay=0.0)
    assert training_state_bytes(averaged) == training_state_bytes(plain) + 4


@pytest.mark.slow
def test_sharded_and_copied_models_have_the_same_average(averaged: TrainConfig) -> None:
    model = dataclasses.replace(averaged.model, dropout=0.0)
    config = dataclasses.replace(averaged, model=model, micro_batch=2, max_steps=6, eval_interval=3)
    alone, copied, sharded = (
        dataclasses.replace(config, out=f"{config.out}-{how}", parallel=how) for how in ("auto", "ddp", "fsdp")
    )
    train(alone)
    train_on_ranks((copied, 2, 6), (sharded, 2, 4), (sharded, 2, 6))
    one = load_newest(Path(alone.out))
    assert one is not None
    assert one.ema is not None
    for run in (copied, sharded):
        other = load_newest(Path(run.out))
        assert other is not None
        assert other.ema is not None
        assert one.ema.keys() == other.ema.keys()
        for name in one.ema:
            torch.testing.assert_close(other.ema[name], one.ema[name], rtol=1e-3, atol=1e-5)
        for name in ("val_loss", "val_loss_ema"):
            theirs = [line[name] for line in read_metrics(Path(run.out)) if name in line]
            assert theirs == pytest.approx([m[name] for m in read_metrics(Path(alone.out)) if name in m], rel=1e-5)
