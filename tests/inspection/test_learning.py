"""Checkpoints are opened once and kept while there is room; when a text was learnt."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint, checkpoint_path, load_step
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.inspection.checkpoints import CheckpointGone, CheckpointLost, Checkpoints
from gpt_research.inspection.learning import LossesThroughTraining, learnt, losses_through_training
from gpt_research.inspection.predictions import predict
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

SHAPE = GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=16, vocab_size=257)
BYTES = 4 * GPT(SHAPE).num_parameters() + 4 * 32 * (320 - 257)  # with the padding rows


def save(run: Path, step: int, seed: int) -> None:
    tensors = model_tensors(GPT(SHAPE, seed=seed))
    save_checkpoint(run, Checkpoint(step, tensors, {}, {}), keep_last=9)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three checkpoints of other weights."""
    folder = tmp_path / "run"
    folder.mkdir()
    Tokenizer.train(["abc"], 257).save(folder / "tokenizer.json")
    write_yaml(TrainConfig(model=SHAPE, tokens_per_step=128), folder / "config.yaml")
    for step in (10, 20, 30):
        save(folder, step, step)
    return folder


def test_a_run_opens_its_other_checkpoints(run: Path) -> None:
    first = Run.open(run, step="10")
    other = first.at(30)
    assert (other.step, other.tokenizer) == (30, first.tokenizer)
    torch.testing.assert_close(other.model.head.weight, Run.open(run).model.head.weight, rtol=0, atol=0)


def test_losses_are_those_of_each_checkpoint(run: Path) -> None:
    found = losses_through_training(run, [1, 2, 3, 4], [30, 10], Checkpoints())
    assert found.steps == [30, 10]
    for row, step in zip(found.surprise, ("30", "10"), strict=True):
        np.testing.assert_allclose(row, predict(Run.open(run, step=step).model, [1, 2, 3, 4]).surprise, atol=1e-6)
    np.testing.assert_allclose(found.loss, found.surprise[:, 1:].mean(1))


def test_checkpoints_stay_open_while_there_is_room(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def counted(folder: Path, step: str, *, optimizer: bool) -> Checkpoint | None:
        opened.append(int(step))
        return load_step(folder, step, optimizer=optimizer)

    monkeypatch.setattr("gpt_research.run.load_step", counted)
    kept = Checkpoints(room=2 * BYTES)
    for step in (10, 20, 10, 20):
        assert kept.open(run, step).step == step
    assert opened == [10, 20]
    kept.open(run, 30)  # the one that was used longest ago makes room
    kept.open(run, 20)
    assert opened == [10, 20, 30]
    kept.open(run, 10)
    assert opened == [10, 20, 30, 10]
    small = Checkpoints(room=0)
    assert small.open(run, 10) is small.open(run, 10)


def test_a_step_that_was_saved_again_is_read_again(run: Path) -> None:
    kept = Checkpoints()
    before = kept.open(run, 20).model.head.weight.clone()
    save(run, 20, seed=99)
    assert not torch.equal(kept.open(run, 20).model.head.weight, before)


def test_a_checkpoint_that_was_deleted_or_damaged_says_so(run: Path) -> None:
    kept = Checkpoints()
    kept.open(run, 20)
    shutil.rmtree(checkpoint_path(run, 20))
    with pytest.raises(CheckpointGone, match=r"no checkpoint of step 20 any more: it has those of the steps 10, 30"):
        kept.open(run, 20)
    with pytest.raises(CheckpointGone):
        kept.open(run, 21)
    weights = checkpoint_path(run, 30) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointLost, match="damaged"):
        kept.open(run, 30)


def test_a_checkpoint_that_is_deleted_while_it_is_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deleted(folder: Path, step: str, *, optimizer: bool) -> Checkpoint | None:
        shutil.rmtree(checkpoint_path(folder, 10))
        return load_step(folder, step, optimizer=optimizer)

    monkeypatch.setattr("gpt_research.run.load_step", deleted)
    with pytest.raises(CheckpointGone, match="steps 20, 30"):
        Checkpoints().open(run, 10)


@pytest.mark.parametrize(
    ("losses", "step", "gain"),
    [
        ([8, 4, 1, 1], 2, 7),  # the middle is 4.5
        ([8, 5, 1, 1], 3, 7),
        ([8, 1, 8, 1], 4, 7),  # what is forgotten does not count
        ([2, 6, 3, 1], 3, 5),  # the fall begins at the highest
        ([8, 7.9, 7.8, 7.6], None, None),
        ([1, 1, 1, 8], None, None),
        ([3, np.nan, 1, 1], None, None),
    ],
)
def test_when_a_token_was_learnt(losses: list[float], step: int | None, gain: float | None) -> None:
    found = learnt([1, 2, 3, 4], np.array(losses, dtype=np.float64))
    assert (found and found.step) == step
    assert (found and found.gain) == gain


def test_the_first_token_is_learnt_by_nobody() -> None:
    surprise = np.array([[np.nan, 6.0], [np.nan, 1.0]])
    seen = LossesThroughTraining([5, 9], surprise, np.array([[-1, 30], [-1, 2]]))
    assert seen.learnt()[0] is None
    assert seen.learnt()[1].step == 9  # type: ignore[union-attr]
    assert np.isnan(LossesThroughTraining([5], surprise[:1, :1], np.array([[-1]])).loss).all()
