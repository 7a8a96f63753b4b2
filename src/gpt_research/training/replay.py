"""Repeat one step of a run in fp32, and record what its modules compute.

A step is a pure function of its checkpoint and its number. So the steps between the newest
checkpoint before it and the step itself are repeated in memory; nothing is written to the run
folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.startup import start
from gpt_research.checkpoint.files import checkpoint_path, load_newest, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.settings_history import Period, period_of, periods, run_config
from gpt_research.training.inputs import TrainingData
from gpt_research.training.lineage import ORIGIN
from gpt_research.training.loop import Trainer
from gpt_research.training.metrics import read_metrics
from gpt_research.training.objective import Objective
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
    logged_loss: float | None = None
    """What metrics.jsonl has as the loss of the step, if it has one of this step alone."""

    @property
    def repeats(self) -> bool:
        """False if the run logged quite another loss, so that something is not as it was then."""
        # The step is taken in fp32, and the run may have taken it in bf16, or on other hardware.
        return self.logged_loss is None or not abs(self.loss - self.logged_loss) > 0.02 * max(1.0, self.logged_loss)

    @property
    def first_bad(self) -> str | None:
        """The module or parameter with the first number that is not finite, in words, or None."""
        for kind, seen in (("output of", self.forward), ("gradient of", self.gradients)):
            for record in seen:
                if not record.finite:
                    return f"{kind} {record.module}"
        return None


def replay(
    run_folder: Path,
    step: int,
    data: str = "",
    device: str = "auto",
    open_data: Callable[[TrainConfig], Objective] = TrainingData.open,
) -> Replay:
    """Take `step` again in fp32, after the steps since the checkpoint before it; record its
    modules.

    Each step is taken with the settings with which the run took it.

    Args:
        step: counted from 1, as in metrics.jsonl.
        data: data set folder; empty for the one that the step was taken on.
        open_data: opens what the run learns from; by default, a data set to pretrain on.

    Raises:
        UserError: no such run or data, a step beyond the run's end, or weights that are gone.
    """
    last_step = run_config(run_folder).max_steps
    if step > last_step:
        raise UserError(f"step is {step}, but the run ends at {last_step}.")
    trainer = _trainer_before(run_folder, step, data, device, open_data)
    train_step = trainer.train_step
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
    logged = _logged_loss(run_folder, step)
    return Replay(step, loss.item(), norm.item(), list(forward.values()), gradients, logged)


def _trainer_before(
    run_folder: Path, step: int, data: str, device: str, open_data: Callable[[TrainConfig], Objective]
) -> Trainer:
    """Return a trainer that has taken the steps before `step`, each with its own settings."""
    checkpoint = load_newest(run_folder, last_step=step - 1)
    if checkpoint is None:
        _check_start(run_folder)
    begin = checkpoint.step if checkpoint is not None else 0
    changes = [period.from_step for period in periods(run_folder) if begin < period.from_step < step]
    for end in [*changes, step - 1]:
        trainer = _trainer(run_folder, period_of(run_folder, begin + 1), data, device, open_data)
        if checkpoint is not None:
            trainer.state.restore(checkpoint, str(checkpoint_path(run_folder, checkpoint.step)), trainer.config)
        for number in range(begin, end):
            _take_again(trainer, number)
        # Where the settings change, another trainer goes on with the same state.
        checkpoint, begin = (trainer.state.at(end), end) if end in changes else (checkpoint, begin)
    return trainer


def _trainer(
    run_folder: Path, period: Period, data: str, device: str, open_data: Callable[[TrainConfig], Objective]
) -> Trainer:
    """Return a trainer with the settings of a period and the weights of its seed.

    Raises:
        UserError: the data set is no longer what the steps were taken on.
    """
    # The run was allowed every change that its history has; the check below is of one period.
    known = period.data != ""
    config = dataclasses.replace(
        period.config, out=str(run_folder), data=data or period.config.data, compile=False, allow_change=known
    )
    opened = open_data(config)
    config = dataclasses.replace(config, model=opened.model)
    trainer = Trainer(
        config, start(device, config.precision, deterministic=config.deterministic), opened, Reporter(), resume=False
    )
    if known and trainer.state.lineage["data"] != period.data:
        raise UserError(
            f"The steps after {period.from_step:,} were taken on other data than {config.data} holds now "
            f"({period.data[:12]} -> {trainer.state.lineage['data'][:12]}). Name the old data with --data."
        )
    return trainer


def _take_again(trainer: Trainer, number: int) -> None:
    """Take a step, counted from 0, as the run took it: a spike that it left out is left out."""
    health = trainer.state.health
    result = trainer.train_step.take_step(number, refuse=health.is_spike if trainer.config.skip_spikes else None)
    assert result is not None, "without a stop function a step is always complete"
    health.observe(*(value.item() for value in result))


def _check_start(run_folder: Path) -> None:
    """Refuse to begin with the weights of the seed if the run began with others.

    Raises:
        UserError: it did, and they are gone.
    """
    newest = load_newest(run_folder, optimizer=False)
    lineage = newest.lineage if newest is not None else {}
    if origin := next((lineage[entry] for entry in ORIGIN if entry in lineage), None):
        source = origin.get("run", "several checkpoints") if isinstance(origin, dict) else origin
        raise UserError(
            f"The run began with the weights of {source}, and its checkpoint of step 0 is gone, so its first steps "
            f"cannot be replayed. It has checkpoints of the steps {', '.join(map(str, saved_steps(run_folder)))}."
        )


def _logged_loss(run_folder: Path, step: int) -> float | None:
    """Return what metrics.jsonl has as the loss of a step; None if it has none of this step
    alone.
    """
    losses = {line["step"]: line["loss"] for line in read_metrics(run_folder) if line.get("loss") is not None}
    # A line that does not follow on the one before may be about several steps.
    return losses.get(step) if step == 1 or step - 1 in losses else None


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
