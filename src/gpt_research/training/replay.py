"""`gpt-research replay`: take a run to one of its steps again and look inside that step, in fp32.

A step is a pure function of its checkpoint and its number, so the steps between the newest checkpoint before it and
the step itself are taken again in memory; nothing in the run folder is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.checkpoint.files import checkpoint_path, load_checkpoint, saved_steps
from gpt_research.commands import ReplayCommand
from gpt_research.config import TrainConfig
from gpt_research.data.shards import Dataset
from gpt_research.run import newest_run
from gpt_research.training.loop import Trainer, dataset_tokenizer
from gpt_research.training.reporter import Reporter


@dataclass
class Sight:
    """What a module put out and what gradient came back to it."""

    module: str
    largest: float
    """Largest absolute output, over all micro-batches; not finite where one is not."""
    finite: bool


@dataclass(frozen=True)
class Replay:
    """One step, run again."""

    step: int
    loss: float
    grad_norm: float
    forward: list[Sight]
    """Modules in the order in which they ran."""
    gradients: list[Sight]
    """Parameters, from the output back to the input."""

    @property
    def first_bad(self) -> str | None:
        """Where the first number that is not finite appears, forward before backward."""
        for kind, sights in (("output of", self.forward), ("gradient of", self.gradients)):
            for sight in sights:
                if not sight.finite:
                    return f"{kind} {sight.module}"
        return None


def run(command: ReplayCommand) -> int:
    """Replay and print what was seen; return the exit code."""
    run_folder = Path(command.run) if command.run else newest_run(Path("runs"))
    found = replay(run_folder, command)
    console = Console(highlight=False, soft_wrap=True)
    table = Table("module", title=f"{run_folder}, step {found.step}, in fp32")
    table.add_column("largest output", justify="right")
    for sight in found.forward:
        if sight.module.count(".") <= 1 or not sight.finite:
            table.add_row(sight.module, f"{sight.largest:.4g}")
    console.print(table)
    console.print(f"loss {found.loss:.6f}, gradient norm {found.grad_norm:.6f}")
    bad = found.first_bad
    console.print(f"The first bad number: {bad}." if bad else "Every number is finite in fp32.")
    return 0


def replay(run_folder: Path, command: ReplayCommand) -> Replay:
    """Take the steps up to `command.step` again, then that one in fp32 under observation.

    Raises:
        UserError: no such run or data, or no checkpoint before the step.
    """
    config = read_yaml(TrainConfig, run_folder / "config.yaml")
    if command.step > config.max_steps:
        raise UserError(f"step is {command.step}, but the run ends at {config.max_steps}.")
    config = dataclasses.replace(config, out=str(run_folder), data=command.data or config.data, compile=False)
    trainer = _trainer_before(config, command.step - 1, command.device)
    for step in range(trainer.start_step, command.step - 1):
        trainer.engine.take_step(step)
    engine = trainer.engine
    engine.runtime = dataclasses.replace(engine.runtime, precision="fp32")
    engine.scaler = torch.amp.GradScaler(engine.runtime.device.type, enabled=False)
    engine.model.loss_chunk = 0  # in chunks the head's output is never seen
    with _watched(trainer.model) as forward:
        loss = engine.accumulate(command.step - 1)
    assert loss is not None, "nothing asks it to stop"
    gradients = [
        Sight(name, float(p.grad.abs().max()), bool(torch.isfinite(p.grad).all()))
        for name, p in reversed(list(trainer.model.named_parameters()))
        if p.grad is not None
    ]
    norm = torch.nn.utils.get_total_norm([p.grad for p in trainer.model.parameters() if p.grad is not None])
    return Replay(command.step, loss.item(), norm.item(), list(forward.values()), gradients)


def _trainer_before(config: TrainConfig, step: int, device: str) -> Trainer:
    """Make a trainer that stands at the newest whole checkpoint not after `step`."""
    dataset = Dataset(config.data, config.model.block_size)
    tokenizer, _ = dataset_tokenizer(dataset)
    steps = [saved for saved in saved_steps(Path(config.out)) if saved <= step]
    trainer = Trainer(config, runtimes.start(device, config.precision), dataset, tokenizer, Reporter(), resume=False)
    for saved in reversed(steps):
        with contextlib.suppress(UserError):  # a damaged one: the one before will do
            trainer.restore(load_checkpoint(checkpoint_path(Path(config.out), saved)))
            break
    return trainer  # no checkpoint: a run begins with its seed, so step 0 is as good as one


@contextlib.contextmanager
def _watched(model: torch.nn.Module) -> Iterator[dict[str, Sight]]:
    """Note the largest output of every module that runs inside the block."""
    sights: dict[str, Sight] = {}

    def hook(name: str) -> object:
        def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
            finite = bool(torch.isfinite(output).all())
            largest = float(output.detach().abs().max())
            known = sights.setdefault(name, Sight(name, largest, finite))
            known.largest, known.finite = max(known.largest, largest), known.finite and finite

        return note

    handles = [m.register_forward_hook(hook(n)) for n, m in model.named_modules() if n and n != "blocks"]
    try:
        yield sights
    finally:
        for handle in handles:
            handle.remove()
