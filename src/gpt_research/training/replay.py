"""Repeat one step of a run in fp32, and record what its modules compute.

A step is a pure function of its checkpoint and its number. So the steps between the newest
checkpoint before it and the step itself are repeated in memory; nothing is written to the run
folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import start
from gpt_research.checkpoint.files import load_newest
from gpt_research.config import TrainConfig
from gpt_research.run import run_config
from gpt_research.training.inputs import TrainingData
from gpt_research.training.loop import Trainer
from gpt_research.training.reporter import Reporter


@dataclass
class Seen:
    """The largest number of a module's output, or of a parameter's gradient."""

    module: str
    largest: float
    """Largest absolute value over all micro-batches; not finite if one value is not."""
    finite: bool


@dataclass(frozen=True)
class Replay:
    """One step, repeated."""

    step: int
    loss: float
    grad_norm: float
    forward: list[Seen]
    """Modules in the order in which they ran."""
    gradients: list[Seen]
    """Parameters, from the output back to the input."""

    @property
    def first_bad(self) -> str | None:
        """The module or parameter with the first number that is not finite, in words, or None."""
        for kind, seen in (("output of", self.forward), ("gradient of", self.gradients)):
            for record in seen:
                if not record.finite:
                    return f"{kind} {record.module}"
        return None


def replay(run_folder: Path, step: int, data: str = "", device: str = "auto") -> Replay:
    """Take `step` again in fp32, after the steps since the checkpoint before it; record its
    modules.

    Args:
        step: counted from 1, as in metrics.jsonl.
        data: data set folder; empty for the one that the run was trained on.

    Raises:
        UserError: no such run or data, or a step beyond the run's end.
    """
    config = run_config(run_folder)
    if step > config.max_steps:
        raise UserError(f"step is {step}, but the run ends at {config.max_steps}.")
    config = dataclasses.replace(config, out=str(run_folder), data=data or config.data, compile=False)
    trainer = _trainer_before(config, step - 1, device)
    train_step = trainer.train_step
    for number in range(trainer.start_step, step - 1):
        train_step.take_step(number)
    train_step.runtime = dataclasses.replace(train_step.runtime, precision="fp32")
    train_step.scaler = torch.amp.GradScaler(train_step.runtime.device.type, enabled=False)
    # The chunked loss multiplies by the head's weight and never calls the module, so no hook would
    # run.
    train_step.model.loss_chunk = 0
    with _watched(trainer.model) as forward:
        loss = train_step.accumulate(step - 1)
    assert loss is not None, "without a stop function a step is always complete"
    gradients = [
        Seen(name, float(p.grad.abs().max()), bool(torch.isfinite(p.grad).all()))
        for name, p in reversed(list(trainer.model.named_parameters()))
        if p.grad is not None
    ]
    norm = torch.nn.utils.get_total_norm([p.grad for p in trainer.model.parameters() if p.grad is not None])
    return Replay(step, loss.item(), norm.item(), list(forward.values()), gradients)


def _trainer_before(config: TrainConfig, step: int, device: str) -> Trainer:
    """Return a trainer at the newest whole checkpoint up to `step`, or at the start of the run."""
    data = TrainingData.open(config)
    trainer = Trainer(config, start(device, config.precision), data, Reporter(), resume=False)
    if (checkpoint := load_newest(trainer.run_folder, last_step=step)) is not None:
        trainer.restore(checkpoint)
    return trainer


@contextlib.contextmanager
def _watched(model: torch.nn.Module) -> Iterator[dict[str, Seen]]:
    """Record the largest output of every module that runs inside the block."""
    seen: dict[str, Seen] = {}

    def hook(name: str) -> object:
        def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
            finite = bool(torch.isfinite(output).all())
            largest = float(output.detach().abs().max())
            known = seen.setdefault(name, Seen(name, largest, finite))
            known.largest, known.finite = max(known.largest, largest), known.finite and finite

        return note

    handles = [m.register_forward_hook(hook(n)) for n, m in model.named_modules() if n and n != "blocks"]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
