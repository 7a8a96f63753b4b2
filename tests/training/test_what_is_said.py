"""What a run says is true when it says it: what is saved, and what it does instead."""

from __future__ import annotations

import dataclasses
import math
import shutil
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import load_checkpoint, load_newest, saved_steps
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.replay import replay
from gpt_research.training.reporter import Reporter
from gpt_research.training.schedules import learning_rates
from gpt_research.training.step import TrainStep


class Heard(Reporter):
    """Keeps what a run reports; each checkpoint must be whole when it is reported."""

    def __init__(self) -> None:
        self.saved_steps: list[int] = []
        self.steps: list[int] = []
        self.notes: list[str] = []

    def saved(self, step: int, path: Path) -> None:
        assert load_checkpoint(path).step == step
        self.saved_steps.append(step)

    def step(self, step: int, values: dict[str, float]) -> None:
        self.steps.append(step)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def quick(tiny_run: TrainConfig) -> TrainConfig:
    return dataclasses.replace(tiny_run, eval_interval=0, eval_tokens=64)


def test_saved_is_said_when_it_is_on_the_disk(quick: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, written, may_write = Heard(), [], threading.Event()
    plain = safetensors.torch.save_file

    def slow(*args: object, **kwargs: object) -> None:
        may_write.wait(30)
        written.append(list(heard.saved_steps))
        plain(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(safetensors.torch, "save_file", slow)
    plain_step = heard.step

    def step(number: int, values: dict[str, float]) -> None:
        plain_step(number, values)
        assert number > 6 or not heard.saved_steps  # the checkpoint of step 4 is not written yet
        if number == 6:
            may_write.set()

    heard.step = step  # type: ignore[method-assign]
    train(quick, heard)
    assert heard.saved_steps == [4, 8, 12]
    assert written == [[], [], [4], [4], [4, 8], [4, 8]]


@pytest.mark.parametrize("older", [True, False])
def test_a_failed_write_stops_the_run_at_once_and_names_what_is_there(
    quick: TrainConfig, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    heard, plain = Heard(), safetensors.torch.save_file
    config = dataclasses.replace(quick, max_steps=400, save_interval=4)

    def full(tensors: dict[str, torch.Tensor], path: Path, *args: object) -> None:
        if "step_00000004" in str(path) and older:
            plain(tensors, path, *args)  # type: ignore[arg-type]
        else:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    there = "the newest checkpoint is that of step 4" if older else "no checkpoint was saved before"
    with pytest.raises(UserError, match=f"No space left.*the run stops: {there}. Free some space"):
        train(config, heard)
    assert heard.saved_steps == saved_steps(Path(config.out)) == ([4] if older else [])
    assert max(heard.steps) < 100  # a write that fails takes much less time than so many steps
    monkeypatch.undo()
    assert train(dataclasses.replace(config, max_steps=10, allow_change=True)).step == 10


def spoil_gradients(monkeypatch: pytest.MonkeyPatch, steps: range, *, weights_too: bool = False) -> None:
    """Make the gradient of some steps (counted from 0) not a number, and by wish a weight."""
    plain = TrainStep.accumulate

    def accumulate(self: TrainStep, step: int, *args: object, **kwargs: object) -> torch.Tensor | None:
        loss = plain(self, step, *args, **kwargs)  # type: ignore[arg-type]
        if step in steps:
            weight = self.model.blocks[1].mlp.up.weight
            assert weight.grad is not None
            weight.grad[0, 0] = math.nan
            if weights_too:
                weight.data[0, 0] = math.nan
        return loss

    monkeypatch.setattr(TrainStep, "accumulate", accumulate)


def test_the_weights_before_three_bad_steps_are_saved_and_the_bad_step_can_be_replayed(
    quick: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, heard = dataclasses.replace(quick, save_interval=0, max_steps=20), Heard()
    whole = dataclasses.replace(config, out=config.out + "-whole")
    train(whole, until=5)
    with monkeypatch.context() as patch:
        spoil_gradients(patch, range(5, 99))
        with pytest.raises(UserError, match=r"up to step 8.*The weights before them are saved as step 5\..*--step 8"):
            train(config, heard)
        assert heard.saved_steps == [5]
        assert replay(Path(config.out), 8, device="cpu").first_bad == "gradient of blocks.1.mlp.up.weight"
    one, two = load_newest(Path(whole.out)), load_newest(Path(config.out))
    assert one is not None
    assert two is not None
    assert (one.step, one.state) == (two.step, two.state)
    for kind in ("model", "optimizer"):
        ours = getattr(two, kind)
        assert all(torch.equal(tensor, ours[name]) for name, tensor in getattr(one, kind).items())
    assert train(config, until=9).step == 9  # and from there the run goes on


@pytest.mark.parametrize(
    ("bad", "weights_too", "save_interval", "says", "saved"),
    [
        (range(3), False, 0, "No step before them changed the weights, so nothing was saved.", []),
        (range(4, 9), False, 4, "The weights before them are those of the checkpoint of step 4.", [4]),
        (range(5, 9), True, 4, "The weights hold numbers that are not finite, so they were not saved.", [4]),
    ],
)
def test_what_is_not_saved_is_not_said_to_be(
    quick: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    bad: range,
    weights_too: bool,
    save_interval: int,
    says: str,
    saved: list[int],
) -> None:
    spoil_gradients(monkeypatch, bad, weights_too=weights_too)
    with pytest.raises(UserError, match=says):
        train(dataclasses.replace(quick, save_interval=save_interval))
    assert saved_steps(Path(quick.out)) == saved


def test_a_warm_up_longer_than_the_run_is_cut_with_a_word(quick: TrainConfig) -> None:
    heard, config = Heard(), dataclasses.replace(quick, warmup_steps=700, max_steps=20, learning_rate=1e-3)
    train(config, heard, until=3)
    assert any("warmup_steps is 700, but the run ends at step 20" in note for note in heard.notes)
    rates = learning_rates(config)
    assert (rates(0), rates(1), rates(2)) == (0.5e-3, 1e-3, 1e-3)
    assert rates(19) == pytest.approx(1e-4)
    assert learning_rates(dataclasses.replace(config, warmup_steps=20))(19) == 1e-3  # as long as the run is as asked


def test_a_sample_prompt_that_does_not_fit_is_refused_before_anything_is_written(
    quick: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"sample_prompt is too long. The prompt has \d+ tokens, .* holds 32"):
        train(dataclasses.replace(quick, sample_prompt="the worst of times " * 20))
    assert not Path(quick.out).exists()


def test_without_a_validation_split_a_word_is_said_and_samples_and_curve_are_written(
    quick: TrainConfig, tmp_path: Path
) -> None:
    source, bare = Path(quick.data), tmp_path / "bare"
    bare.mkdir()
    shutil.copy(source / "plays" / "train_00000.bin", bare / "train.bin")
    shutil.copy(source / "tokenizer.json", bare)
    heard, config = Heard(), dataclasses.replace(quick, data=str(bare), eval_interval=2, max_steps=4)
    train(config, heard, until=2)
    assert any(f"{bare} has no validation split" in note for note in heard.notes)
    run = Path(config.out)
    assert (run / "samples.txt").read_text().count("--- step 2 ---") == 1
    assert (run / "loss.png").stat().st_size > 0
    assert not any("val_loss" in line for line in read_metrics(run))
    assert main(["train", "--resume", config.out, "--early_stopping", "2"]) == 2
    with pytest.raises(UserError, match=f"keep_best needs a validation split, but {bare} has none"):
        train(dataclasses.replace(config, keep_best=True))


def test_corpora_without_a_validation_split_are_named(quick: TrainConfig, tmp_path: Path) -> None:
    import json

    copy = tmp_path / "copy"
    shutil.copytree(quick.data, copy)
    manifest = copy / "tales" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "splits": {"train": content["splits"]["train"]}}))
    heard = Heard()
    train(dataclasses.replace(quick, data=str(copy)), heard, until=1)
    assert "Evaluations leave out the corpora that have no validation split: tales." in heard.notes
