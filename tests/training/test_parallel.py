"""One, two or four processes, sharded or not, learn the same from the same samples; checkpoints fit
any number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.distributed as dist
from rank_launcher import train_on_ranks
from torch.testing._internal.distributed.fake_pg import FakeStore

from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import checkpoint_path, find_step, load_newest, load_step, saved_steps, tensor_files
from gpt_research.checkpoint.weights import held_rows, is_sharded
from gpt_research.config import OptimizerConfig, TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import load_model
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.step import TrainStep


def losses(config: TrainConfig, name: str = "loss") -> dict[int, float]:
    return {m["step"]: m[name] for m in read_metrics(Path(config.out)) if name in m}


@pytest.fixture
def plain_run(tiny_run: TrainConfig) -> TrainConfig:
    """A run without dropout, whose draws are another on each process."""
    model = dataclasses.replace(tiny_run.model, dropout=0.0)
    return dataclasses.replace(tiny_run, model=model, micro_batch=2, max_steps=8, eval_interval=4, save_interval=4)


WAYS: dict[str, tuple[dict[str, Any], int, int]] = {
    "2-sharded": ({"parallel": "fsdp"}, 2, 2),
    "4-copied": ({"parallel": "ddp"}, 4, 4),
    "4-sharded": ({"parallel": "fsdp"}, 4, 4),
    "2-sharded-late": ({"parallel": "fsdp", "gradient_exchange": "step"}, 2, 2),
    "2-nodes": ({"parallel": "hsdp", "micro_batch": 1}, 4, 2),
    "2-nodes-late": ({"parallel": "hsdp", "micro_batch": 1, "gradient_exchange": "step"}, 4, 2),
}
"""Changes of the settings, processes, and processes of a node."""


@pytest.mark.slow
def test_processes_learn_what_one_learns(plain_run: TrainConfig) -> None:
    alone = dataclasses.replace(plain_run, out=plain_run.out + "-1")
    ways = {
        name: dataclasses.replace(plain_run, out=f"{plain_run.out}-{name}", **changes)
        for name, (changes, _, _) in WAYS.items()
    }
    train(alone)
    train_on_ranks(*((config, WAYS[name][1], 8, WAYS[name][2]) for name, config in ways.items()))
    first = load_newest(Path(alone.out))
    assert first is not None
    for way, config in ways.items():
        for name in ("loss", "grad_norm", "val_loss"):
            one, other = losses(alone, name), losses(config, name)
            assert one.keys() == other.keys()
            assert [other[step] for step in one] == pytest.approx(list(one.values()), rel=1e-5), (way, name)
        second = load_newest(Path(config.out))
        assert second is not None
        for kind in ("model", "optimizer"):
            one, other = getattr(first, kind), getattr(second, kind)
            assert one.keys() == other.keys()
            for key in one:
                torch.testing.assert_close(other[key], one[key], rtol=1e-3, atol=1e-5, msg=f"{way} {key}")
        # Each row is saved once: by all processes, or by those of one node.
        files = tensor_files(checkpoint_path(Path(config.out), 8), "model")
        assert len(files) == (1 if config.parallel == "ddp" else WAYS[way][2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "rounding",
    [{"precision": "bf16"}, {"precision": "fp16"}, {"precision": "bf16", "residual_precision": "bf16"}],
    ids=["bf16", "fp16", "rounded stream of another shape"],
)
def test_a_sharded_model_rounds_where_a_copied_one_does(plain_run: TrainConfig, rounding: dict[str, str]) -> None:
    # Sequences are taken one by one, so that each way rounds the same sums.
    ways = ("2-sharded", "2-sharded-late", "2-nodes", "2-nodes-late")
    model = plain_run.model
    if "residual_precision" in rounding:  # and then the shape that has most kinds of parameters
        changes = {"norm": "rmsnorm", "activation": "swiglu", "positions": "rope", "qk_norm": True, "n_kv_head": 1}
        model = dataclasses.replace(model, value_embeddings=True, **changes)  # type: ignore[arg-type]
    config = dataclasses.replace(plain_run, model=model, micro_batch=1, eval_interval=0, **rounding)  # type: ignore[arg-type]
    copied = dataclasses.replace(config, out=f"{config.out}-ddp", parallel="ddp")
    others = {way: dataclasses.replace(config, out=f"{config.out}-{way}", **WAYS[way][0]) for way in ways}
    train_on_ranks((copied, 2, 5), *((run, WAYS[way][1], 5, WAYS[way][2]) for way, run in others.items()))
    for way, run in others.items():
        for name in ("loss", "grad_norm"):
            one, other = losses(copied, name), losses(run, name)
            assert other[1] == pytest.approx(one[1], rel=1e-6), (way, name)
            # Later steps differ a little, because the gradients of micro-batches are added in
            # another order, and Adam enlarges that.
            assert [other[step] for step in one] == pytest.approx(list(one.values()), rel=2e-4), (way, name)


@pytest.mark.slow
def test_a_sharded_run_goes_on_at_any_number_of_processes(plain_run: TrainConfig) -> None:
    config = dataclasses.replace(plain_run, micro_batch=1, max_steps=10, eval_interval=0)
    whole = dataclasses.replace(config, out=config.out + "-whole")
    train(whole)
    nodes, sharded, copied = (dataclasses.replace(config, parallel=how) for how in ("hsdp", "fsdp", "ddp"))
    train_on_ranks((nodes, 4, 2, 2), (copied, 2, 3), (sharded, 4, 5))
    train(config, until=6)
    train_on_ranks((nodes, 4, 8, 2), (sharded, 2, 10))
    one, other = losses(whole), losses(config)
    assert sorted(other) == list(range(1, 11))
    assert [other[step] for step in one] == pytest.approx(list(one.values()), rel=1e-5)
    model, _ = load_model(config.out)
    assert model.token_embedding.weight.isfinite().all()


@pytest.fixture(scope="module")
def last_of_four() -> Iterator[runtimes.Runtime]:
    """The last of four processes on two nodes, whose messages arrive nowhere."""
    dist.init_process_group("fake", store=FakeStore(), rank=3, world_size=4)
    yield runtimes.Runtime(torch.device("cpu"), "fp32", 3, 1, 4, node_size=2)
    dist.destroy_process_group()


@pytest.mark.parametrize("how", ["fsdp", "hsdp"])
def test_muon_refuses_a_sharded_model(last_of_four: runtimes.Runtime, how: Literal["fsdp", "hsdp"]) -> None:
    model = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=16, vocab_size=90)
    muon = OptimizerConfig("muon")
    config = TrainConfig(model=model, parallel=how, micro_batch=1, tokens_per_step=64, optimizer=muon)
    plan = plan_execution(config, last_of_four)
    with pytest.raises(UserError, match=r"optimizer\.name is muon, but the model is sharded.*--parallel ddp"):
        build_step(config, plan, last_of_four, RandomBatches(model, 1), TrainStep)


@pytest.mark.parametrize("how", ["fsdp", "hsdp"])
@pytest.mark.parametrize("shape", [{}, {"tie_weights": False, "positions": "sinusoidal"}])
def test_a_process_draws_its_rows_as_one_process_does_and_never_holds_the_whole_model(
    last_of_four: runtimes.Runtime, how: Literal["fsdp", "hsdp"], shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = GPTConfig(n_layer=5, n_head=2, n_embd=32, block_size=16, vocab_size=90, **shape)
    config = TrainConfig(model=model, parallel=how, micro_batch=1, tokens_per_step=64, seed=7, compile=False)
    held = []
    initialise = GPT.initialise

    def watched(self: GPT, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **options)
        drawn = [p for p in self.parameters() if p.dim() > 1 and not p.is_meta and not is_sharded(p)]
        held.append(sum(p.numel() for p in drawn))

    monkeypatch.setattr(GPT, "initialise", watched)
    plan = plan_execution(config, last_of_four)
    step = build_step(config, plan, last_of_four, RandomBatches(model, 1), TrainStep)
    monkeypatch.undo()
    whole = GPT(model, 7)
    block = 12 * 32 * 32
    assert held == [*[block] * 5, sum(p.numel() for p in whole.parameters() if p.dim() > 1) - 5 * block]
    sharded = dict(step.model.named_parameters())
    assert sharded.keys() == dict(whole.named_parameters()).keys()
    for name, parameter in whole.named_parameters():
        rows, first = held_rows(sharded[name])
        assert first == -(-len(parameter) // plan.shards) * (plan.shards - 1)
        assert torch.equal(rows, parameter[first:]), name
    buffers = dict(step.model.named_buffers())
    assert all(torch.equal(buffers[name], buffer) for name, buffer in whole.named_buffers())
    assert (step.model.head.weight is step.model.token_embedding.weight) == model.tie_weights


def test_only_a_model_that_would_fill_the_device_is_sharded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtimes.Runtime(torch.device("cpu"), "fp32", world_size=2, node_size=2)
    nodes = dataclasses.replace(runtime, world_size=4)
    model = GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=32, vocab_size=1000)
    state = 16 * (2 * (12 * 64 * 64 + 13 * 64) + 2 * 64 + 64 * (1024 + 32))
    config = TrainConfig(model=model)
    for where, memory, expected in (
        (runtime, 2 * state + 1000, "ddp"),
        (runtime, 2 * state - 1000, "fsdp"),
        (runtime, 0, "ddp"),
        (nodes, 2 * state + 1000, "ddp"),
        (nodes, 2 * state - 1000, "hsdp"),
        (nodes, state + 1000, "hsdp"),
        (nodes, state - 1000, "fsdp"),
        # Where the nodes differ, there is no mesh of nodes.
        (dataclasses.replace(nodes, node_size=0), 2 * state - 1000, "fsdp"),
    ):
        monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self, memory=memory: memory)
        plan = plan_execution(config, where)
        shards = {"ddp": 1, "fsdp": where.world_size, "hsdp": 2}[expected]
        assert (plan.parallel, plan.shards) == (expected, shards), (where, memory)
    assert plan_execution(dataclasses.replace(config, parallel="ddp"), runtime).parallel == "ddp"
    alone = dataclasses.replace(runtime, world_size=1)
    assert plan_execution(dataclasses.replace(config, parallel="fsdp"), alone).parallel == "none"


@pytest.mark.parametrize(("ranks", "node_size", "expected"), [(1, 1, "none"), (4, 4, "fsdp"), (4, 1, "ddp")])
def test_copies_of_shards_become_what_they_are_on_one_node_or_one_process_a_node(
    ranks: int, node_size: int, expected: str
) -> None:
    runtime = runtimes.Runtime(torch.device("cpu"), "fp32", world_size=ranks, node_size=node_size)
    assert plan_execution(TrainConfig(parallel="hsdp"), runtime).parallel == expected


@pytest.mark.slow
def test_nodes_with_unequal_numbers_of_processes_cannot_hold_copies(plain_run: TrainConfig) -> None:
    config = dataclasses.replace(plain_run, parallel="hsdp", tokens_per_step=192)
    with pytest.raises(AssertionError, match="parallel is hsdp, but the nodes run unequal numbers of processes"):
        train_on_ranks((config, 3, 8, 2))


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
