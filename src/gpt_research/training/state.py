"""The state of a run between two steps, to and from a checkpoint, and how it is saved.

A step is a pure function of the weights, the optimizer's state and the step's number: data, dropout
and learning rate all follow from (seed, step). So a checkpoint is weights, optimizer state, scaler
and one number, and what the run remembers: its losses, and the average of its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.files import Checkpoint, Part
from gpt_research.checkpoint.saver import BackgroundSaver
from gpt_research.checkpoint.weights import first_rows, model_tensors, restore_model
from gpt_research.config import TrainConfig
from gpt_research.training.best import BestEvaluation
from gpt_research.training.execution import ExecutionPlan
from gpt_research.training.health import Health
from gpt_research.training.lineage import ORIGIN, check_lineage
from gpt_research.training.optimizer_state import (
    optimizer_first_rows,
    optimizer_tensors,
    optimizer_values,
    restore_optimizer,
    state_tensors,
)
from gpt_research.training.reporter import Reporter
from gpt_research.training.signals import ASKS_EVERY_S
from gpt_research.training.step import TrainStep


class RunState:
    """What a step changes, and what the weights come from."""

    def __init__(self, train_step: TrainStep, lineage: dict[str, Any], health: Health, best: BestEvaluation) -> None:
        self.train_step, self.lineage, self.health, self.best = train_step, lineage, health, best
        self.unlogged: list[float] = []
        """The finite losses of the steps since the last logged line."""
        self.remarks: list[str] = []
        """Sentences for the user on the checkpoint that was restored."""

    def at(self, step: int) -> Checkpoint:
        """Return a copy of the state after `step`; of a sharded model, what this process holds."""
        optimizer, model = self.train_step.optimizer, self.train_step.model
        tensors = model_tensors(model), optimizer_tensors(optimizer, model)
        rows = first_rows(model) | optimizer_first_rows(optimizer, model)
        ema = self.train_step.average.tensors() if self.train_step.average is not None else None
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        return Checkpoint(step, *tensors, self.small_values(), rows, ema=ema, frozen=frozen)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return weights, their average and optimizer state by name, as they are on the device."""
        named = dict(self.train_step.model.named_parameters())
        moments = state_tensors(self.train_step.optimizer, self.train_step.model)
        average = self.train_step.average
        averages = average.named_parameters() if average is not None and average.steps else ()
        return named | moments | {f"ema/{name}": value for name, value in averages}

    def small_values(self) -> dict[str, Any]:
        """Return all of the state but tensors, as JSON holds it."""
        average = self.train_step.average
        optimizer = optimizer_values(self.train_step.optimizer, self.train_step.model)
        return {
            **({"optimizer": optimizer} if optimizer else {}),
            **({"ema_steps": average.steps} if average is not None else {}),
            "lineage": self.lineage,
            "scaler": self.train_step.scaler.state_dict(),
            "health": self.health.state_dict(),
            "validation": self.best.state_dict(),
            "unlogged_losses": list(self.unlogged),
            "skipped_steps": int(self.train_step.skipped.item()),
            "threads": self._threads,
        }

    def restore(self, checkpoint: Checkpoint, where: str, config: TrainConfig) -> None:
        """Take over the state of a checkpoint.

        Args:
            where: the checkpoint's place, for errors.
            config: says where the data are, and whether they may have changed.

        Raises:
            UserError: it is of another model, tokenizer or data.
        """
        train_step, state, before = self.train_step, checkpoint.state, checkpoint.lineage
        check_lineage(before, self.lineage, where, config)
        restore_model(train_step.model, checkpoint.model, where)
        restore_optimizer(train_step.optimizer, train_step.model, checkpoint.optimizer, state.get("optimizer"))
        if train_step.average is not None:
            train_step.average.restore(checkpoint.ema, state.get("ema_steps", 0), where)
        train_step.scaler.load_state_dict(state.get("scaler", {}))
        if "health" in state:
            self.health.load_state_dict(state["health"])
        if "validation" in state:
            self.best.load_state_dict(state["validation"])
        self.unlogged = list(state.get("unlogged_losses", []))
        train_step.skipped.fill_(state.get("skipped_steps", 0))
        self.lineage |= {name: before[name] for name in ORIGIN if name in before}
        threads = state.get("threads")
        if threads is not None and self._threads not in (None, threads):
            self.remarks.append(
                f"The run so far was on a {threads}-thread CPU, and now it is on a {self._threads}-thread CPU: sums "
                "are rounded otherwise, so it will not equal an uninterrupted run bit for bit. If it is to, start it "
                f"with OMP_NUM_THREADS={threads}."
            )

    @property
    def _threads(self) -> int | None:
        """The threads of a step on a CPU, whose number decides how sums are rounded."""
        return torch.get_num_threads() if self.train_step.runtime.device.type == "cpu" else None

    def forget_bad_steps(self) -> int:
        """Take the steps in a row that changed nothing off the counts; return their number.

        The state is then that after the last step that changed the weights.
        """
        bad = self.health.bad_in_a_row
        self.health.bad_in_a_row = 0
        self.train_step.skipped -= bad
        return bad


def is_due(step: int, interval: int, last_step: int) -> bool:
    """Return whether something that is done every `interval` steps (0: never), and after the last
    one, is done after this step.
    """
    return step == last_step or (interval > 0 and step % interval == 0)


class Saving:
    """The checkpoints that a run writes. All ranks call its methods at the same steps."""

    def __init__(
        self,
        new_saver: Callable[[Part | None], BackgroundSaver],
        before_decay: int,
        plan: ExecutionPlan,
        state: RunState,
        runtime: Runtime,
        reporter: Reporter,
    ) -> None:
        """Prepare to save.

        Args:
            new_saver: from the part that this process writes to the saver, which says which
                checkpoints stay.
            before_decay: one step whose checkpoint stays; 0 for none.
        """
        self.before_decay = before_decay
        # The shards of the first copy are the whole model. The other copies are equal to it.
        part = Part(runtime.rank, plan.shards) if runtime.rank < plan.shards else None
        self._saver = new_saver(part)
        self._state, self._runtime, self._reporter = state, runtime, reporter
        self.newest: int | None = None
        """Step of the newest checkpoint, on the disk or being written; None if there is none."""

    @property
    def failed(self) -> bool:
        """True on the rank that could not write a checkpoint."""
        return self._saver.failed

    def save(self, step: int) -> None:
        """Copy the state of `step`, and let a thread write the copy while training goes on.

        Raises:
            UserError: as `wait` does, about the checkpoint before.
        """
        self.wait()
        self.newest = step
        self._saver.prepare(step)
        self._runtime.barrier()  # no part may be written before the folder for all parts is there
        if self._saver.part is not None:
            # Nothing can make the weights of step 0 again if another run or an import gave them.
            keep = {0, self.before_decay, self._state.best.step or 0}
            self._saver.save(self._state.at(step), keep)

    def abandon(self) -> None:
        """Wait no more for the parts that other processes write, because the run ends."""
        self._saver.abandon()

    def wait(self) -> None:
        """Wait until the newest checkpoint is on the disk, and report it.

        Raises:
            UserError: it could not be written, by this process or another.
        """
        # The others ask again and again, so that they do not wait longer for a slow disk than they
        # would for a rank that has gone.
        while self._runtime.any_rank(not self._saver.join(ASKS_EVERY_S if self._runtime.world_size > 1 else None)):
            pass
        # All ranks must stop, because the others would wait for one that left.
        if self._runtime.any_rank(self._saver.failed):
            self._saver.wait()
            raise UserError("Another process could not write a checkpoint, so this one stops too.")
        self.report()

    def report(self) -> None:
        """Report the checkpoint that has reached the disk since the last call, if any."""
        if (written := self._saver.written()) is not None:
            self._reporter.saved(*written)
