"""The mean of checkpoints: exact, with its lineage, and of use to every command."""

from __future__ import annotations

import dataclasses
import random
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import small_training

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.average import mean
from gpt_research.checkpoint.files import checkpoint_path, load_checkpoint, load_step
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.run import Run
from gpt_research.training.loop import train


@pytest.fixture(scope="module")
def trained(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run with the checkpoints of the steps 2, 4 and 6."""
    out = tmp_path_factory.mktemp("average") / "run"
    config = small_training(dataset_folder, out=str(out), save_interval=2, keep_last=5, ema_decay=0.9)
    train(config)
    return config


@pytest.fixture
def run(trained: TrainConfig, tmp_path: Path) -> Path:
    shutil.copytree(trained.out, tmp_path / "run")
    return tmp_path / "run"


def test_the_mean_is_that_of_the_exact_sum_whatever_the_order() -> None:
    draw = random.Random(1)
    # Sizes far apart, and large numbers that cancel, so that a sum in fp32 or fp64 would be wrong.
    rows = [[draw.uniform(-1, 1) * 10.0 ** draw.randint(-18, 18) for _ in range(500)] for _ in range(7)]
    rows += [[-value for value in rows[0]]]
    tensors = [torch.tensor(row) for row in rows]
    exact = [sum(Fraction(float(t[column])) for t in tensors) / len(tensors) for column in range(500)]
    expected = torch.tensor(np.array([float(value) for value in exact], dtype=np.float32))
    assert torch.equal(mean(tensors), expected)
    assert not torch.equal(sum(tensors) / len(tensors), expected)
    for _ in range(5):
        draw.shuffle(tensors)
        assert torch.equal(mean(tensors), expected)


def test_the_newest_checkpoints_of_a_run_become_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", str(run), "--last", "3"]) == 0
    assert "the mean of 3 checkpoints" in capsys.readouterr().out
    out = Path(f"{run}-average")
    made = load_step(out, "0")
    assert made is not None
    sources = [load_checkpoint(checkpoint_path(run, step)) for step in (2, 4, 6)]
    for name, tensor in made.model.items():
        expected = torch.stack([source.model[name].double() for source in sources]).mean(0).float()
        torch.testing.assert_close(tensor, expected, rtol=1e-7, atol=0)
    origin = made.lineage["mean_of"]
    assert [(each["run"], each["step"], each["weights_sha256"]) for each in origin["checkpoints"]] == [
        (str(run), source.step, source.weights_sha256) for source in sources
    ]
    again = Path(f"{run}-again")
    assert main(["average", str(run), "--steps", "6,2,4", "--out", str(again)]) == 0
    weights = "checkpoints/step_00000000/model.safetensors"
    assert (out / weights).read_bytes() == (again / weights).read_bytes()
    assert main(["average", str(run), "--steps", "2,4,6", "--ema", "--out", f"{run}-ema"]) == 0
    assert (Path(f"{run}-ema") / weights).read_bytes() != (out / weights).read_bytes()


def test_the_mean_is_evaluated_generates_leaves_and_begins_a_run(
    run: Path, trained: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean"
    assert main(["average", str(run), "--last", "2", "--out", str(out)]) == 0
    assert main(["evaluate", str(out), "--device", "cpu", "--max_tokens", "256"]) == 0
    assert main(["generate", str(out), "--device", "cpu", "--max_new_tokens", "4"]) == 0
    assert main(["export", str(out), "--format", "safetensors", "--out", str(tmp_path / "plain")]) == 0
    assert "The mean of the weights of 2 checkpoints: steps 4, 6." in (tmp_path / "plain/README.md").read_text()
    capsys.readouterr()
    assert main(["inspect", str(out)]) == 0
    assert "step 4 of" in capsys.readouterr().out
    tuned = dataclasses.replace(trained, out=str(tmp_path / "tuned"), init_from=str(out), ema_decay=0.0, max_steps=2)
    train(tuned)
    first = load_step(Path(tuned.out), "0")
    assert first is not None
    assert all(torch.equal(first.model[name], tensor) for name, tensor in load_step(out, "0").model.items())  # type: ignore[union-attr]
    # Trained in place it begins at step 0, with an optimizer of its own, and stays a mean.
    assert main(["train", "--resume", str(out), "--max_steps", "2"]) == 0
    assert "are the mean of 2 checkpoints" in " ".join(capsys.readouterr().err.split())
    assert Run.open(out).step == 2
    assert "mean_of" in Run.open(out).lineage


def test_what_cannot_be_averaged_is_a_sentence(
    run: Path, trained: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = dataclasses.replace(trained, out=str(tmp_path / "wider"), max_steps=1)
    train(dataclasses.replace(wider, model=dataclasses.replace(trained.model, n_embd=64)))
    cases = {
        (str(run),): "3 checkpoints (steps 2, 4, 6), but 5 are asked for",
        (str(run), "--last", "4"): "but 4 are asked for",
        (str(run), "--last", "1"): "two checkpoints or more",
        (str(run), "--steps", "2,3"): "no checkpoint of step 3",
        (str(run), "--steps", "2;4"): "steps with commas between them",
        (str(run), str(tmp_path / "wider"), "--last", "1", "--out", "x"): "n_embd: 32 -> 64",
        (str(run), str(tmp_path / "wider"), "--last", "1"): "out is ''",
        (str(tmp_path / "nothing"),): "not a run folder",
        (str(run), "--last", "2", "--out", str(run)): "is there already",
    }
    for arguments, message in cases.items():
        assert main(["average", *arguments]) == 2, arguments
        assert message in " ".join(capsys.readouterr().err.split()), arguments
    damaged = checkpoint_path(run, 4) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(damaged.parent)
    assert main(["average", str(run), "--last", "3"]) == 2
    assert not Path(f"{run}-average").exists()
