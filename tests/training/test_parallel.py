"""One, two or four processes, sharded or not, learn the same from the same samples; checkpoints fit
any number.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from rank_launcher import train_on_ranks

from gpt_research.base import runtime as runtimes
from gpt_research.checkpoint.files import checkpoint_path, find_step, load_newest, load_step, saved_steps, tensor_files
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.run import load_model
from gpt_research.training.assembly import plan_execution
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics


def losses(config: TrainConfig, name: str = "loss") -> dict[int, float]:
    return {m["step"]: m[name] for m in read_metrics(Path(config.out)) if name in m}


@pytest.fixture
def plain_run(tiny_run: TrainConfig) -> TrainConfig:
    """A run without dropout, whose draws are another on each process."""
    model = dataclasses.replace(tiny_run.model, dropout=0.0)
    return dataclasses.replace(tiny_run, model=model, micro_batch=2, max_steps=8, eval_interval=4, save_interval=4)


@pytest.mark.parametrize(("ranks", "how"), [(2, "fsdp"), (4, "ddp"), (4, "fsdp")])
@pytest.mark.slow
def test_processes_learn_what_one_learns(plain_run: TrainConfig, ranks: int, how: str) -> None:
    alone = dataclasses.replace(plain_run, out=plain_run.out + "-1")
    many = dataclasses.replace(plain_run, out=f"{plain_run.out}-{ranks}", parallel=how)
    train(alone)
    train_on_ranks((many, ranks, 8))
    for name in ("loss", "grad_norm", "val_loss"):
        one, other = losses(alone, name), losses(many, name)
        assert one.keys() == other.keys()
        assert [other[step] for step in one] == pytest.approx(list(one.values()), rel=1e-5), name
    first, second = (load_newest(Path(config.out)) for config in (alone, many))
    assert first is not None
    assert second is not None
    for kind in ("model", "optimizer"):
        one, other = getattr(first, kind), getattr(second, kind)
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(other[key], one[key], rtol=1e-3, atol=1e-5, msg=key)
    files = tensor_files(checkpoint_path(Path(many.out), 8), "model")
    assert len(files) == (ranks if how == "fsdp" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_sharded_model_rounds_where_a_copied_one_does(plain_run: TrainConfig, precision: str) -> None:
    copied, sharded = (
        dataclasses.replace(plain_run, out=f"{plain_run.out}-{how}", parallel=how, precision=precision)
        for how in ("ddp", "fsdp")
    )
    train_on_ranks((copied, 2, 8), (sharded, 2, 8))
    for name in ("loss", "grad_norm"):
        one, other = losses(copied, name), losses(sharded, name)
        assert other[1] == pytest.approx(one[1], rel=1e-7), name
        # Later steps differ a little, because the gradients of micro-batches are added in another
        # order, and Adam enlarges that.
        assert [other[step] for step in one] == pytest.approx(list(one.values()), rel=2e-4), name


@pytest.mark.slow
def test_a_sharded_run_goes_on_at_any_number_of_processes(plain_run: TrainConfig) -> None:
    config = dataclasses.replace(plain_run, max_steps=10, eval_interval=0)
    whole = dataclasses.replace(config, out=config.out + "-whole")
    train(whole)
    sharded, copied = (dataclasses.replace(config, parallel=how) for how in ("fsdp", "ddp"))
    train_on_ranks((sharded, 4, 3))
    train(config, until=5)
    train_on_ranks((sharded, 2, 7), (copied, 2, 10))
    one, other = losses(whole), losses(config)
    assert sorted(other) == list(range(1, 11))
    assert [other[step] for step in one] == pytest.approx(list(one.values()), rel=1e-5)
    model, _ = load_model(config.out)
    assert model.token_embedding.weight.isfinite().all()


def test_only_a_model_that_would_fill_the_device_is_sharded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtimes.Runtime(torch.device("cpu"), "fp32", world_size=2)
    model = GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=32, vocab_size=1000)
    parameters = 2 * (12 * 64 * 64 + 13 * 64) + 2 * 64 + 64 * (1024 + 32)
    config = TrainConfig(model=model)
    for memory, expected in ((16 * parameters * 2 + 1000, "ddp"), (16 * parameters * 2 - 1000, "fsdp"), (0, "ddp")):
        monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self, memory=memory: memory)
        assert plan_execution(config, runtime).parallel == expected
    assert plan_execution(dataclasses.replace(config, parallel="ddp"), runtime).parallel == "ddp"
    alone = dataclasses.replace(runtime, world_size=1)
    assert plan_execution(dataclasses.replace(config, parallel="fsdp"), alone).parallel == "none"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_processes_begin_with_other_weights_keep_the_best_and_go_back_together(
    plain_run: TrainConfig, how: str, tmp_path: Path
) -> None:
    train(dataclasses.replace(plain_run, max_steps=4, eval_interval=0))
    new = dataclasses.replace(
        plain_run,
        init_from=plain_run.out,
        out=str(tmp_path / how),
        parallel=how,
        eval_interval=2,
        save_interval=0,
        keep_best=True,
        keep_last=1,
        early_stopping=2,
        # The first step spoils the weights so much that no evaluation finds a gain.
        learning_rate=10.0,
        warmup_steps=0,
        allow_change=True,
    )
    back = dataclasses.replace(new, resume=new.out, step="best", early_stopping=0)
    run = Path(new.out)
    train_on_ranks((new, 2, 8))
    history = [(m["step"], m["val_loss"]) for m in read_metrics(run) if "val_loss" in m]
    best = min(history, key=lambda entry: entry[1])[0]
    assert history[-1][0] == min(best + 4, 8)
    assert saved_steps(run) == sorted({0, best, history[-1][0]})
    assert find_step(run, "best") == best
    source, start = load_newest(Path(plain_run.out)), load_step(run, "0")
    assert source is not None
    assert start is not None
    assert all(torch.equal(start.model[name], tensor) for name, tensor in source.model.items())
    train_on_ranks((back, 2, best + 1))
    assert saved_steps(run) == [0, best, best + 1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_a_process_that_cannot_write_stops_all(plain_run: TrainConfig, how: str) -> None:
    config = dataclasses.replace(plain_run, parallel=how, max_steps=10_000, save_interval=2, eval_interval=0)
    in_the_way = checkpoint_path(Path(config.out), 4)
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the folder of step 4 is to be")
    with pytest.raises(AssertionError, match="step_00000004 could not be written") as failure:
        train_on_ranks((config, 2, 10_000))
    assert "the newest checkpoint is that of step 2" in str(failure.value)
    assert max(losses(config)) < 1000
