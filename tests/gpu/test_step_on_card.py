"""A training step on a card is the step of a CPU, within the rounding of its precision."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from steps import has, no_waiting, step_on

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.training.inputs import TrainingData
from gpt_research.training.loop import Trainer, train
from gpt_research.training.reporter import Reporter

TOLERANCE = {"fp32": (1e-4, 5e-3), "bf16": (2e-3, 4e-2), "fp16": (5e-4, 1e-2)}
"""Precision -> relative error of the loss, and of each tensor's gradient, against fp32 on a CPU. On
a card fp32 products run in tf32, which keeps 10 bits, as fp16 does; bf16 keeps 7."""
COMPILERS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")


def gradients(step: object) -> tuple[float, dict[str, torch.Tensor]]:
    loss = step.accumulate(0)  # type: ignore[attr-defined]
    scale = step.scaler.get_scale()  # type: ignore[attr-defined]
    found = step.model.named_parameters()  # type: ignore[attr-defined]
    return float(loss), {name: p.grad.float().cpu() / scale for name, p in found}


@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True}, {"loss_chunk": 128}], ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@COMPILERS
def test_a_step_is_that_of_a_cpu(device: str, precision: str, compiled: bool, settings: dict) -> None:
    if not has(device, precision):
        pytest.skip("the card has no bf16")
    if precision == "fp16" and "loss_chunk" in settings:
        pytest.skip("fp16 takes all logits at once")
    if compiled and (missing := startup.start(device, precision).missing_for_compile()):
        pytest.skip(missing)
    exact_loss, exact = gradients(step_on("cpu", "fp32", compile=False))
    loss, found = gradients(step_on(device, precision, compile=compiled, **settings))
    of_loss, of_gradient = TOLERANCE[precision]
    assert loss == pytest.approx(exact_loss, rel=of_loss)
    for name, tensor in exact.items():
        assert (found[name] - tensor).norm() <= of_gradient * tensor.norm() + 1e-6, name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_many_steps_learn_what_a_cpu_learns(device: str, precision: str) -> None:
    if not has(device, precision):
        pytest.skip("the card has no bf16")
    steps = [step_on("cpu", "fp32", compile=False), step_on(device, precision, compile=False)]
    losses = [[float(step.take_step(number)[0]) for number in range(20)] for step in steps]
    assert losses[0][-1] < 0.9 * losses[0][0], "the CPU has learnt nothing"
    # fp16 leaves its first steps out, until the scale fits.
    late = int(steps[1].skipped)
    assert late == 0 or precision == "fp16"
    assert losses[1][-1] == pytest.approx(losses[0][-1 - late], rel=2e-2)


def test_fp16_leaves_out_steps_that_overflow_and_finds_its_scale(device: str) -> None:
    step = step_on(device, "fp16", compile=False)
    step.scaler = torch.amp.GradScaler(device, init_scale=2.0**40)
    before = [p.detach().clone() for p in step.model.parameters()]
    _, norm = step.take_step(0)
    assert not math.isfinite(float(norm))
    assert int(step.skipped) == 1
    assert step.scaler.get_scale() == 2.0**39
    assert all(torch.equal(a, b) for a, b in zip(before, step.model.parameters(), strict=True))
    assert not any(state["step"].item() for state in step.optimizer.state.values())
    for number in range(1, 40):
        step.take_step(number)
    assert int(step.skipped) < 40
    assert not any(torch.equal(a, b) for a, b in zip(before, step.model.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gradient_that_is_not_finite_changes_nothing(device: str, precision: str) -> None:
    if not has(device, precision):
        pytest.skip("the card has no bf16")
    step = step_on(device, precision, compile=False)
    step.take_step(0)
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    handle = next(step.model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
    skipped = int(step.skipped)
    step.take_step(1)
    handle.remove()
    assert int(step.skipped) == skipped + 1
    assert all(torch.equal(before[name], tensor) for name, tensor in step.model.state_dict().items())


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@COMPILERS
def test_the_host_never_waits_inside_a_step(device: str, precision: str, compiled: bool) -> None:
    if not has(device, precision):
        pytest.skip("the card has no bf16")
    if compiled and device == "cpu":
        pytest.skip("what a compiled step reads cannot be seen on a CPU")
    if device == "cpu" and precision == "fp16":
        pytest.skip("torch's scaler reads its scale on a CPU")
    step = step_on(device, precision, compile=compiled)
    for number in range(3):
        step.take_step(number)
    with no_waiting(device):
        for number in range(3, 6):
            step.take_step(number)
    assert int(step.skipped) <= 3


def test_the_host_never_waits_with_the_batches_of_a_data_set(tiny_run: TrainConfig, device: str) -> None:
    config = dataclasses.replace(tiny_run, device=device, precision="fp32", compile=False)
    runtime = startup.start(config.device, config.precision)
    data = TrainingData.open(config)
    config = dataclasses.replace(config, model=data.model)
    trainer = Trainer(config, runtime, data, Reporter())
    trainer.train_step.take_step(0)
    with no_waiting(device):
        for number in range(1, 4):
            trainer.train_step.take_step(number)


def test_memory_that_runs_out_is_the_users_error(tiny_run: TrainConfig, card: str, tmp_path: Path) -> None:
    model = dataclasses.replace(tiny_run.model, n_layer=8, n_embd=512, n_head=8)
    config = dataclasses.replace(
        tiny_run,
        model=model,
        micro_batch=512,
        tokens_per_step=512 * 32,
        device=card,
        out=str(tmp_path / "run"),
        compile=False,
    )
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1e9 / total))
    try:
        with pytest.raises(UserError, match=r"Out of memory with micro_batch 512 .*--gradient_checkpointing"):
            train(config)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
