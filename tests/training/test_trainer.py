"""Training is right: interrupted equals uninterrupted bit for bit, and neither micro-batch nor
ranks change a step.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import load_newest, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training.inputs import TrainingData
from gpt_research.training.loop import Trainer, train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.reporter import Reporter
from gpt_research.training.run_folder import locked_run_folder


def make_trainer(config: TrainConfig) -> Trainer:
    """A trainer without its run folder, for tests of single steps."""
    data = TrainingData.open(config)
    config = dataclasses.replace(config, model=data.model)
    return Trainer(config, startup.start("cpu", config.precision), data, Reporter())


def weights(run: str) -> dict[str, torch.Tensor]:
    found = load_newest(Path(run))
    assert found is not None
    return {**found.model, **found.optimizer}


def losses(run: str) -> dict[int, float]:
    return {m["step"]: m["loss"] for m in read_metrics(Path(run)) if "loss" in m}


def test_the_loss_falls_and_the_folder_is_complete(tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(tiny_run, max_steps=60, learning_rate=1e-2, save_interval=30, eval_interval=30)
    outcome = train(config)
    curve = losses(config.out)
    assert sorted(curve) == list(range(1, 61))
    assert curve[60] < 0.7 * curve[1]
    run = Path(config.out)
    for name in ("config.yaml", "metrics.jsonl", "loss.png", "samples.txt", "tokenizer.json"):
        assert (run / name).stat().st_size > 0, name
    assert saved_steps(run) == [30, 60]
    assert set(outcome.losses) == {"plays", "tales"}
    line = next(m for m in read_metrics(run) if "loss" in m)
    assert {"step", "loss", "learning_rate", "grad_norm", "tokens_per_s", "mfu", "elapsed_s"} <= line.keys()
    last = [m for m in read_metrics(run) if "val_loss" in m][-1]
    assert last["val_loss"] == pytest.approx(
        sum(loss.nats for loss in outcome.losses.values()) / sum(loss.tokens for loss in outcome.losses.values())
    )
    assert set(last["corpora"]) == {"plays", "tales"}


@pytest.mark.parametrize(
    ("precision", "dropout", "loss_chunk"), [("fp32", 0.1, 0), ("bf16", 0.1, 0), ("bf16", 0.0, 48), ("fp16", 0.1, 0)]
)
def test_interrupted_equals_uninterrupted_bit_for_bit(
    tiny_run: TrainConfig, precision: str, dropout: float, loss_chunk: int
) -> None:
    model = dataclasses.replace(tiny_run.model, dropout=dropout)
    tiny_run = dataclasses.replace(tiny_run, model=model, precision=precision, loss_chunk=loss_chunk)
    whole = dataclasses.replace(tiny_run, out=tiny_run.out + "-whole")
    train(whole)
    parts = dataclasses.replace(tiny_run, out=tiny_run.out + "-parts")

    class StopAt(Reporter):
        """Asks for a stop, as Ctrl-C does, once a step is logged."""

        def __init__(self, at: int) -> None:
            self.at = at

        def step(self, step: int, values: dict[str, float]) -> None:
            if step == self.at:
                os.kill(os.getpid(), signal.SIGINT)

    for at in (3, 7):
        outcome = train(parts, StopAt(at))
        assert (outcome.step, outcome.stopped_by) == (at, signal.SIGINT)
    assert train(parts).step == 12
    one, two = weights(whole.out), weights(parts.out)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name
    assert losses(whole.out) == losses(parts.out)
    states = [load_newest(Path(out)) for out in (whole.out, parts.out)]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].state == states[1].state


def test_a_finished_run_is_left_as_it_is(tiny_run: TrainConfig) -> None:
    train(tiny_run)
    before = weights(tiny_run.out)
    outcome = train(tiny_run)
    assert outcome.steps_here == 0
    assert all(torch.equal(before[k], v) for k, v in weights(tiny_run.out).items())


@pytest.mark.parametrize("micro_batch", [1, 2, 8])
def test_the_micro_batch_does_not_change_the_gradient(tiny_run: TrainConfig, micro_batch: int) -> None:
    config = dataclasses.replace(tiny_run, model=dataclasses.replace(tiny_run.model, dropout=0.0))

    def gradients(config: TrainConfig) -> list[torch.Tensor]:
        trainer = make_trainer(config)
        kept: list[torch.Tensor] = []
        trainer.train_step.optimizer.step = lambda *a, **k: kept.extend(  # type: ignore[method-assign,assignment]
            p.grad.clone() for p in trainer.model.parameters() if p.grad is not None
        )
        trainer.train_step.take_step(3)
        return kept

    for a, b in zip(gradients(config), gradients(dataclasses.replace(config, micro_batch=micro_batch)), strict=True):
        assert torch.linalg.vector_norm(a - b) <= 1e-6 * max(1.0, float(torch.linalg.vector_norm(a)))


def test_evaluating_more_often_does_not_change_what_is_learnt(tiny_run: TrainConfig) -> None:
    often = dataclasses.replace(tiny_run, out=tiny_run.out + "-often", eval_interval=1)
    never = dataclasses.replace(tiny_run, out=tiny_run.out + "-never", eval_interval=0)
    train(often)
    train(never)
    one, two = weights(often.out), weights(never.out)
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gradient_that_is_not_finite_skips_the_step(tiny_run: TrainConfig, precision: str) -> None:
    trainer = make_trainer(dataclasses.replace(tiny_run, precision=precision))
    trainer.train_step.take_step(0)
    skipped_before = int(trainer.train_step.skipped)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    moments = {k: v.clone() for s in trainer.train_step.optimizer.state.values() for k, v in s.items()}
    handle = next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
    trainer.train_step.take_step(1)
    handle.remove()
    assert int(trainer.train_step.skipped) == skipped_before + 1
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())
    after = {k: v for s in trainer.train_step.optimizer.state.values() for k, v in s.items()}
    assert all(torch.equal(moments[k], after[k]) for k in moments)
    trainer.train_step.take_step(2)
    assert any(not torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_gradient_checkpointing_learns_the_same(tiny_run: TrainConfig) -> None:
    plain, saving = (
        make_trainer(tiny_run),
        make_trainer(dataclasses.replace(tiny_run, gradient_checkpointing=True)),
    )
    for step in range(3):
        a, b = plain.train_step.take_step(step), saving.train_step.take_step(step)
        assert a is not None
        assert b is not None
        assert torch.equal(a[0], b[0])


def test_another_setting_needs_allow_change(tiny_run: TrainConfig) -> None:
    train(dataclasses.replace(tiny_run, max_steps=4))
    with pytest.raises(UserError, match=r"max_steps: 4 -> 8.*--allow_change"):
        train(dataclasses.replace(tiny_run, max_steps=8))
    assert train(dataclasses.replace(tiny_run, max_steps=8, allow_change=True)).step == 8
    other = dataclasses.replace(tiny_run, model=dataclasses.replace(tiny_run.model, n_layer=3), allow_change=True)
    with pytest.raises(UserError, match="another shape"):
        train(other)


def test_resume_never_wants_an_empty_folder(tiny_run: TrainConfig) -> None:
    train(tiny_run)
    with pytest.raises(UserError, match="--resume is never"):
        train(dataclasses.replace(tiny_run, resume="never"))


def test_a_vocabulary_that_differs_is_refused(tiny_run: TrainConfig) -> None:
    model = dataclasses.replace(tiny_run.model, vocab_size=1000)
    with pytest.raises(UserError, match=r"model\.vocab_size is 1000.*300 entries"):
        train(dataclasses.replace(tiny_run, model=model))


def test_another_tokenizer_than_the_shards_is_refused(tiny_run: TrainConfig, tmp_path: Path) -> None:
    import shutil

    from gpt_research.data.tokenizer import Tokenizer

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run.data, copy)
    Tokenizer.train(["quite another text " * 50], 280).save(copy / "tokenizer.json")
    with pytest.raises(UserError, match="were written with the tokenizer"):
        train(dataclasses.replace(tiny_run, data=str(copy)))


def test_a_folder_in_use_is_refused_and_names_its_owner(tiny_run: TrainConfig) -> None:
    with (
        locked_run_folder(tiny_run),
        pytest.raises(UserError, match=f"in use by process {os.getpid()}"),
    ):
        train(tiny_run)


COMMAND = [sys.executable, "-m", "gpt_research", "train"]


def arguments(config: TrainConfig, path: Path) -> list[str]:
    from gpt_research.base.settings import write_yaml

    write_yaml(config, path)
    return [*COMMAND, "--config", str(path)]


@pytest.mark.slow
def test_a_killed_run_frees_its_folder_and_goes_on(tiny_run: TrainConfig, tmp_path: Path) -> None:
    whole = dataclasses.replace(tiny_run, out=tiny_run.out + "-whole", max_steps=200, save_interval=20, eval_interval=0)
    killed = dataclasses.replace(whole, out=tiny_run.out + "-killed")
    command = arguments(killed, tmp_path / "config.yaml")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not saved_steps(Path(killed.out)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert train(killed).steps_here < 200
    train(whole)
    one, two = weights(whole.out), weights(killed.out)
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_signal_saves_and_leaves(tiny_run: TrainConfig, tmp_path: Path, number: signal.Signals) -> None:
    config = dataclasses.replace(tiny_run, max_steps=1_000_000, eval_interval=0, save_interval=0)
    process = subprocess.Popen(arguments(config, tmp_path / "config.yaml"), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not losses(config.out):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f" train --resume {config.out}" in said
    assert len(saved_steps(Path(config.out))) == 1


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(tiny_run: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        tiny_run, model=dataclasses.replace(tiny_run.model, dropout=0.0), out=tiny_run.out + "-1", max_steps=6
    )
    train(config)
    two = dataclasses.replace(config, out=tiny_run.out + "-2")
    command = arguments(two, tmp_path / "config.yaml")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        *command[1:],
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(launcher, capture_output=True, text=True, env=environment, timeout=240)
    assert result.returncode == 0, result.stderr
    one, other = losses(config.out), losses(two.out)
    assert one.keys() == other.keys()
    for step, loss in one.items():
        assert other[step] == pytest.approx(loss, rel=1e-5)
