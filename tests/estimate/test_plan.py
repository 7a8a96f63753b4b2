"""What a run will take is predicted right, measured honestly, and said plainly."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml, write_yaml
from gpt_research.checkpoint.files import checkpoint_path
from gpt_research.cli import command_line as cli
from gpt_research.cli.terminal_reporter import TerminalReporter
from gpt_research.config import TrainConfig
from gpt_research.estimate import first_steps
from gpt_research.estimate import micro_batch as micro_batches
from gpt_research.estimate import plan as plans
from gpt_research.estimate import probe as probes
from gpt_research.estimate.micro_batch import resolve_micro_batch
from gpt_research.estimate.probe import Measurement, predicted_peak, sweep_micro_batches
from gpt_research.estimate.resources import ResourceEstimate, estimate_resources
from gpt_research.estimate.sizes import fitting_micro_batches
from gpt_research.estimate.time_estimate import TimeEstimate, estimate_time, in_words
from gpt_research.model.gpt import GPT
from gpt_research.run import load_model
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics

CPU = runtimes.Runtime(torch.device("cpu"), "fp32")


def measured(size: int, speed: float, peak: int = 0) -> Measurement:
    return Measurement(size, speed, 0.001 * size, peak)


def test_the_formulas_agree_with_a_real_model_and_its_checkpoint(tiny_run: TrainConfig) -> None:
    outcome = train(dataclasses.replace(tiny_run, max_steps=4))
    config = read_yaml(TrainConfig, outcome.run / "config.yaml")
    size = estimate_resources(config, CPU)
    model, _ = load_model(outcome.run)
    assert size.parameters == model.num_parameters()
    assert size.tokens == 4 * 256
    folder = checkpoint_path(outcome.run, 4)
    on_disk = sum(path.stat().st_size for path in folder.iterdir())
    assert size.checkpoint_bytes == pytest.approx(on_disk, rel=0.25)  # names and state weigh much in so small a one
    assert size.disk_bytes >= sum(p.stat().st_size for p in (outcome.run / "checkpoints").rglob("*.*")) * 0.75


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_about_what_autograd_keeps(tiny_run: TrainConfig, checkpointing: bool) -> None:
    shape = dataclasses.replace(tiny_run.model, n_layer=4, n_embd=64, block_size=64, dropout=0.0, vocab_size=300)
    config = dataclasses.replace(
        tiny_run, model=shape, micro_batch=2, tokens_per_step=128, gradient_checkpointing=checkpointing
    )
    model = GPT(shape)
    model.gradient_checkpointing = checkpointing
    kept: dict[int, int] = {}
    owned = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(0, 300, (2, 64))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(tokens, tokens)
    predicted = estimate_resources(config, CPU).activation_bytes
    # With checkpointing the formula also counts the block that is computed again, which the
    # backward pass holds.
    assert 0.5 < predicted / sum(kept.values()) < (5 if checkpointing else 2.5)
    assert loss.isfinite()


def test_a_sharded_model_takes_its_share_and_what_is_whole_for_a_while(tiny_run: TrainConfig) -> None:
    shape = dataclasses.replace(tiny_run.model, n_layer=6, n_embd=64, vocab_size=300)
    config = dataclasses.replace(tiny_run, model=shape, micro_batch=1, tokens_per_step=512, precision="bf16")
    processes = dataclasses.replace(CPU, precision="bf16", world_size=8, node_size=4)
    model = GPT(shape)
    parameters = sum(p.numel() for p in model.parameters())
    block = sum(p.numel() for p in model.blocks[0].parameters())

    def estimate(how: str, exchange: str = "pass", **changes: Any) -> ResourceEstimate:
        settings = {"parallel": how, "gradient_exchange": exchange, **changes}
        return estimate_resources(dataclasses.replace(config, **settings), processes)

    copied, sharded, nodes = (estimate(how) for how in ("ddp", "fsdp", "hsdp"))
    assert [size.state_bytes for size in (copied, sharded, nodes)] == [16 * parameters // n for n in (1, 8, 4)]
    assert nodes.work_bytes == sharded.work_bytes
    # Two blocks in 16 bits, the embeddings, and twice the larger of both as a gradient.
    outside = parameters - 6 * block
    whole = 2 * 2 * block + 4 * outside + 2 * 4 * max(block, outside)
    assert sharded.work_bytes - whole == copied.work_bytes - 2 * parameters
    late = estimate("fsdp", "step")
    assert late.memory_bytes - sharded.memory_bytes == 4 * parameters - 4 * max(block, outside)
    assert estimate("ddp", "step") == copied
    one_pass = {"tokens_per_step": 256}
    assert estimate("fsdp", "step", **one_pass).memory_bytes == estimate("fsdp", **one_pass).memory_bytes


def test_micro_batches_divide_the_step(tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(tiny_run, tokens_per_step=32 * 24, micro_batch=1)
    assert fitting_micro_batches(config, 1) == [1, 2, 4, 8, 24]
    assert fitting_micro_batches(config, 2) == [1, 2, 4, 12]
    with pytest.raises(UserError, match="tokens_per_step"):
        fitting_micro_batches(config, 5)


def test_a_sweep_ends_where_nothing_is_gained_or_nothing_fits() -> None:
    sizes = [1, 2, 4, 8, 16, 32]
    flat = {size: measured(size, 100.0) for size in sizes}
    assert [m.micro_batch for m in sweep_micro_batches(lambda size, _: flat[size], sizes, 60, 1e12)] == [1, 2, 4, 8]
    steep = {size: measured(size, 100.0 * size, 1000 + 100 * size) for size in sizes}
    assert [m.micro_batch for m in sweep_micro_batches(lambda size, _: steep[size], sizes, 60, 1e12)] == sizes
    assert [m.micro_batch for m in sweep_micro_batches(lambda size, _: steep[size], sizes, 60, 2000)] == [1, 2, 4, 8]
    full = sweep_micro_batches(lambda size, _: steep[size] if size < 4 else None, sizes, 60, 1e12)
    assert [m.micro_batch for m in full] == [1, 2]
    assert predicted_peak([steep[1], steep[2]], 10) == 2000


def test_the_fastest_is_the_smallest_of_the_equally_fast() -> None:
    found = [measured(1, 50), measured(2, 98), measured(4, 100), measured(8, 99)]
    assert probes.Sweep(found, 0, 8).fastest.micro_batch == 2


def test_times_are_said_in_words() -> None:
    assert [in_words(s) for s in (1, 40, 360, 11520, 87 * 86400, 1500 * 86400)] == [
        "1 second", "40 seconds", "6 minutes", "3.2 hours", "87 days", "4.1 years",
    ]  # fmt: skip


def test_what_is_left_counts_steps_and_evaluations(tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(tiny_run, max_steps=100, eval_interval=50, eval_tokens=3000)
    found = estimate_time(config, tokens_per_s=256.0, flops_per_token=2.0, peak_flops=1024.0, done=20, corpora=2)
    assert found.seconds == pytest.approx((80 * 256 + 1 * 2 * 3000 / 3) / 256)
    assert found.mfu == pytest.approx(0.5)
    assert not found.hopeless
    assert dataclasses.replace(found, seconds=15 * 86400.0).hopeless


@pytest.mark.slow
@pytest.mark.alone
def test_the_plan_is_near_what_training_then_does(tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataclasses.replace(tiny_run, max_steps=60, eval_interval=0, save_interval=0)
    file = Path(config.out).with_suffix(".yaml")
    write_yaml(config, file)
    assert cli.main(["plan", "--config", str(file), "--seconds", "4", "--json", "--price_per_hour", "3"]) == 0
    plan = json.loads(capsys.readouterr().out)
    train(config)
    speeds = [m["tokens_per_s"] for m in read_metrics(Path(config.out)) if "loss" in m]
    real = sorted(speeds)[len(speeds) // 2]
    assert 1 / 4 < plan["tokens_per_s"] / real < 4  # other work may run beside either of them
    assert plan["epochs"].keys() == {"plays", "tales"}
    assert plan["micro_batch"] in (m["micro_batch"] for m in plan["tried"])
    assert plan["cost"] == pytest.approx(3 * plan["hours"])
    assert not plan["hopeless"]


def test_formulas_alone_need_no_data_and_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--data", str(tmp_path / "none"), "--seconds", "0"]) == 0
    said = capsys.readouterr().out
    assert "124.0M parameters" in said
    assert "5.24B in 20,000 steps" in said
    assert "tokens/s" not in said


@pytest.mark.slow
def test_a_hopeless_run_is_called_so_and_another_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "small_run", lambda runtime, config: TimeEstimate(1.0, 0.1, 360.0))
    shape = ["--model.n_layer", "1", "--model.n_head", "2", "--model.n_embd", "32", "--model.block_size", "32"]
    size = ["--model.vocab_size", "500", "--tokens_per_step", "1024", "--max_steps", "2000000000"]
    settings = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert cli.main(["plan", *shape, *size, *settings, "--seconds", "0.5"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Hopeless as it is" in said
    assert "Try --config tiny-cpu: 6 minutes here." in said


@pytest.mark.slow
def test_auto_takes_a_divisor_keeps_it_and_learns_the_same(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batches, "AUTO_SECONDS", 2.0)
    notes: list[str] = []
    auto = dataclasses.replace(tiny_run, micro_batch="auto", max_steps=8)  # type: ignore[arg-type]
    train(resolve_micro_batch(auto, notes.append), until=4)
    chosen = read_yaml(TrainConfig, Path(auto.out) / "config.yaml").micro_batch
    assert 8 % chosen == 0
    assert any(f"micro_batch auto: {chosen} of" in note for note in notes)
    notes.clear()
    train(resolve_micro_batch(auto, notes.append))
    assert read_yaml(TrainConfig, Path(auto.out) / "config.yaml").micro_batch == chosen
    assert not notes


def test_training_says_what_to_expect_after_its_first_steps(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_steps, "WATCH_S", 0.0)
    monkeypatch.setattr(first_steps, "WORTH_SAYING_S", 0.0)
    terminal = io.StringIO()
    reporter = TerminalReporter(Console(file=terminal, soft_wrap=True, highlight=False))
    train(tiny_run, reporter)
    reporter.close()
    estimates = [line for line in terminal.getvalue().splitlines() if line.startswith("Estimate:")]
    assert len(estimates) == 1
    assert "to go, until" in estimates[0]


def test_an_estimate_changes_nothing_that_is_learnt(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_steps, "WATCH_S", 0.0)
    shown = dataclasses.replace(tiny_run, out=tiny_run.out + "-shown")
    train(tiny_run)
    reporter = TerminalReporter(Console(file=io.StringIO()))
    train(shown, reporter)
    reporter.close()
    one, two = ([m["loss"] for m in read_metrics(Path(c.out)) if "loss" in m] for c in (tiny_run, shown))
    assert one == two


def test_no_step_can_be_faster_than_the_peak(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if other work had all of the machine.
    monkeypatch.setattr("gpt_research.base.peak_flops.measured_flops", lambda runtime: 1.0)
    train(tiny_run)
    shares = [m["mfu"] for m in read_metrics(Path(tiny_run.out)) if "loss" in m]
    assert 0 < max(shares) <= 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("MPS backend out of memory (MPS allocated: 15.62 GB, max allowed: 18.13 GB). Tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    ],
)
def test_a_size_for_which_memory_runs_out_ends_the_tries_on_any_device(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        compiling_s = 0.0

        def __init__(self, config: TrainConfig, runtime: runtimes.Runtime, *, many_sizes: bool) -> None: ...

        def measure(self, size: int, seconds: float) -> Measurement:
            if size > 2:
                raise error
            return Measurement(size, 100.0 * size, 0.01, size)

    monkeypatch.setattr(probes, "Probe", Small)
    here = runtimes.Runtime(torch.device("cpu"), "fp32")
    found = list(probes._sweep_here(TrainConfig(micro_batch=1), here, [1, 2, 4, 8], 100.0, 1 << 60))
    assert [measured.micro_batch for measured in found] == [1, 2]
