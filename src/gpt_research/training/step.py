"""The training step: batches become a gradient, and the gradient changes the weights.

It is the same for every device, precision and number of processes, and a pure function of the
weights, the optimizer's state and the step's number. `assembly.build_step` makes its parts. It
knows nothing about files, logs or the shape of the model.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

import torch

from gpt_research.base.seeds import seed_for
from gpt_research.training.execution import ExecutionPlan
from gpt_research.training.parallel import Placed, gradients_stay_local

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from gpt_research.base.runtime import Runtime
    from gpt_research.training.ema import AveragedWeights


class Batches(Protocol):
    """Gives any micro-batch of this process: (micro_batch, block_size + 1) int64, contiguous.

    A window has one token more than the context, because each token's target is the next one.
    """

    def sequences(self, step: int, micro_step: int) -> torch.Tensor: ...


class TrainStep:
    """The model, the optimizer and the batches of one process, and the step that joins them."""

    def __init__(
        self,
        placed: Placed,
        optimizer: torch.optim.Optimizer,
        learning_rate: Callable[[int], float],
        batches: Batches,
        plan: ExecutionPlan,
        runtime: Runtime,
        *,
        seed: int,
        grad_clip: float,
        average: AveragedWeights | None = None,
    ) -> None:
        """Keep the parts of a step.

        Args:
            learning_rate: from a step, counted from 0, to its rate.
            grad_clip: largest global gradient norm; 0 does not clip.
            average: of the weights, which takes those after each step; None keeps none.
        """
        self.placed, self.model = placed, placed.model
        self.optimizer, self.learning_rate, self.batches = optimizer, learning_rate, batches
        self.plan, self.runtime, self.seed, self.grad_clip = plan, runtime, seed, grad_clip
        self.average = average
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.skipped = torch.zeros((), device=runtime.device)
        """Steps that left the weights as they were, counted on the device."""
        self.data_s = 0.0
        """Seconds spent waiting for batches, since the trainer last set it to 0."""

    def take_step(
        self,
        step: int,
        stop: Callable[[], bool] = lambda: False,
        refuse: Callable[[float], bool] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Take one optimizer step; return its mean loss and gradient norm, or None if `stop` cut it
        short.

        If the gradient is not finite, or `refuse` returns True for the loss, weights and optimizer
        stay as they were.
        """
        rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        loss = self.accumulate(step, stop)
        if loss is None:
            return None
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip or math.inf)
        if self.plan.shards > 1:
            norm = cast("DTensor", norm).full_tensor()
        # Every process has the mean gradient and the mean loss of all, so all decide alike. The
        # flag stays on the device, because reading it would make the host wait.
        leave_out = ~torch.isfinite(norm)
        if refuse is not None and refuse(loss.item()):
            leave_out = torch.ones_like(leave_out)
        # An optimizer that draws random numbers draws the same ones on each process.
        self.runtime.seed(seed_for(self.seed, "optimizer", step))
        # fp16's scaler leaves a step out by itself if the gradient is not finite.
        if not self.scaler.is_enabled():
            step_unless(self.optimizer, leave_out)
        elif not (refuse is not None and leave_out.item()):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.skipped += leave_out
        if self.average is not None:
            self.average.update(leave_out)
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def accumulate(self, step: int, stop: Callable[[], bool] = lambda: False) -> torch.Tensor | None:
        """Add up the gradient of a step over its micro-batches; return the mean loss of all
        processes.

        If `stop` returns True, drops the gradient and returns None. No other step may follow then,
        because FSDP keeps sums that it has not exchanged.
        """
        plan, runtime, model = self.plan, self.runtime, self.placed.for_training
        # Dropout depends on the step and not on the steps before it, so a resumed run repeats it.
        runtime.seed(seed_for(self.seed, "dropout", step, runtime.rank))
        model.train()
        loss, divisor = torch.zeros((), device=runtime.device), self._divisor(step)
        for micro_step in range(plan.micro_steps):
            if stop():
                self.optimizer.zero_grad(set_to_none=True)
                return None
            inputs = self._fetch(step, micro_step)
            last = micro_step == plan.micro_steps - 1
            with contextlib.nullcontext() if last else gradients_stay_local(model, plan), runtime.autocast():
                nats = model(*inputs)
                # The loss is divided by the tokens of the whole step, so neither the micro-batch
                # nor the number of processes changes the gradient. DDP and FSDP average the
                # gradients of the processes, so each multiplies by their number.
                share = nats * (runtime.world_size / divisor)
                self.scaler.scale(share).backward()
            loss += nats.detach() / divisor
        return runtime.sum_over_ranks(loss)

    def _divisor(self, step: int) -> float:
        """Return what the summed loss of a step is divided by: its tokens over all processes."""
        return self.plan.tokens_per_step

    def _fetch(self, step: int, micro_step: int) -> tuple[torch.Tensor, ...]:
        """Return what the model takes of a micro-batch, on the device: tokens and targets, (B, T)
        each.
        """
        began = time.perf_counter()
        # The sequences are (B, T + 1). Only a copy of contiguous memory lets the host go on, so
        # they are cut on the device.
        sequences = self._sent(self.batches.sequences(step, micro_step))
        self.data_s += time.perf_counter() - began
        return sequences[:, :-1], sequences[:, 1:]

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a contiguous tensor on the device."""
        # The host runs ahead of a GPU, so a batch arrives before the device needs it, if it is
        # copied from pinned memory.
        if self.runtime.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.runtime.device, non_blocking=True)


def step_unless(optimizer: torch.optim.Optimizer, leave_out: torch.Tensor) -> None:
    """Take the optimizer's step, unless `leave_out`, a boolean scalar on the device, is true."""
    # torch's fused optimizers read the flag on the device: they take it as the `found_inf` of a
    # gradient scaler and then change nothing, so the host does not wait for it. For every other
    # optimizer the host reads the flag.
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = leave_out.float()  # type: ignore[attr-defined]
        optimizer.step()
    elif not leave_out.item():
        optimizer.step()
