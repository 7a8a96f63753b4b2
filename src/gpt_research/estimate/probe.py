"""Measures real steps on this machine: their speed, their memory, and the best micro-batch.

A probe takes the steps that training would take, with a `TrainStep`, on random tokens. On a CPU it
runs in a process of its own (`python -m gpt_research.estimate.probe`): the peak of that process is
the peak of the steps, and if memory runs out, nothing else is killed.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpt_research.base import machine, parent, plugins, startup
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import to_dict
from gpt_research.config import OptimizerConfig, TrainConfig, WandbConfig
from gpt_research.estimate.resources import estimate_resources
from gpt_research.estimate.sizes import ROOM
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.step import TrainStep

GAIN = 1.03
"""A larger micro-batch is worth its memory only if it is faster by this factor."""
LEAST_COMPILED = 8
"""Smaller micro-batches are not worth compiling for, if one of this size fits."""
PATIENCE = 3
"""Stop after this many sizes without a speed-up; one slow size may be noise."""


@dataclass(frozen=True)
class Measurement:
    """The speed and memory of steps with one micro-batch size."""

    micro_batch: int
    tokens_per_s: float
    """Tokens per second of training as configured, over all processes."""
    pass_s: float
    """Seconds of one forward and backward pass of one micro-batch."""
    peak_bytes: int
    """The most memory held: on the device, or on a CPU by the whole process."""


@dataclass(frozen=True)
class Sweep:
    """The micro-batch sizes that were tried, and what follows from them."""

    measurements: list[Measurement]
    """Smallest micro-batch first; empty if not even the smallest fits."""
    room_bytes: int
    """Memory that the peak may reach."""
    largest: int
    """The largest micro-batch that fits, predicted from those that were tried; 0 if none does."""

    @property
    def fastest(self) -> Measurement:
        """The smallest size that no other size beats by more than `GAIN`."""
        top = max(m.tokens_per_s for m in self.measurements)
        return next(m for m in self.measurements if m.tokens_per_s * GAIN >= top)


def sweep_micro_batches(
    measure: Callable[[int, float], Measurement | None],
    sizes: Sequence[int],
    seconds: float,
    room: float,
    slope: float = 0.0,
    compiling_s: Callable[[], float] = lambda: 0.0,
) -> Iterator[Measurement]:
    """Measure sizes in order, until one would not fit, `PATIENCE` are no faster, or time is up.

    Args:
        measure: takes a size and the seconds to spend on it; returns None if memory ran out.
        room: bytes that a peak may reach; a size that is predicted to need more is not tried.
        slope: the fewest bytes to assume for one more sequence.
        compiling_s: returns the seconds so far that do not count.
    """
    measurements: list[Measurement] = []
    ends_at = time.perf_counter() + seconds
    for index, size in enumerate(sizes):
        left = ends_at + compiling_s() - time.perf_counter()
        if measurements:
            needed = (
                2 * measurements[-1].pass_s * size / measurements[-1].micro_batch
            )  # once to warm up, once to measure
            if needed > left or predicted_peak(measurements, size, slope) > room:
                return
        measured = measure(size, left / min(4, len(sizes) - index))
        if measured is None:
            return
        yield measured
        measurements.append(measured)
        before = measurements[:-PATIENCE]
        if before and max(m.tokens_per_s for m in measurements[-PATIENCE:]) < GAIN * max(
            m.tokens_per_s for m in before
        ):
            return


def predicted_peak(measurements: Sequence[Measurement], size: int, slope: float = 0.0) -> float:
    """Return the peak that a larger micro-batch would have, in bytes."""
    # Memory grows by the same amount for each sequence. Two measurements give that amount; with
    # one, or if they are too close to each other, it is at least `slope`.
    last = measurements[-1]
    if len(measurements) > 1:
        slope = max(
            slope, (last.peak_bytes - measurements[-2].peak_bytes) / (last.micro_batch - measurements[-2].micro_batch)
        )
    return last.peak_bytes + slope * (size - last.micro_batch)


class RandomBatches:
    """Random tokens of the right shape. Every batch is the same, so that making it is not
    measured.
    """

    def __init__(self, model: GPTConfig, micro_batch: int) -> None:
        self.windows = torch.randint(model.vocab_size, (micro_batch, model.block_size + 1))

    def sequences(self, step: int, micro_step: int) -> torch.Tensor:
        return self.windows


class TimedStep(TrainStep):
    """Times the passes of a step apart from the optimizer's update, which comes once a step."""

    passes_s = 0.0

    def accumulate(self, step: int, stop: Callable[[], bool] = lambda: False) -> torch.Tensor | None:
        self.runtime.synchronize()
        began = time.perf_counter()
        loss = super().accumulate(step, stop)
        self.runtime.synchronize()
        self.passes_s += time.perf_counter() - began
        return loss


class Probe:
    """Measures the steps of a run with any micro-batch size. All processes must make the same
    calls.
    """

    def __init__(self, config: TrainConfig, runtime: Runtime, *, many_sizes: bool = False) -> None:
        """Build the step.

        Args:
            many_sizes: compile block by block at most, because each size is compiled anew. The
                blocks of the preset hold at most 4% less memory than the whole model at once
                (`make test-traced`).
        """
        self.config, self.runtime, self.step = dataclasses.replace(config, micro_batch=1), runtime, 0
        plan = plan_execution(self.config, runtime)
        if many_sizes and plan.compiled == "whole":
            plan = dataclasses.replace(plan, compiled="blocks")
        batches = RandomBatches(config.model, 1)
        self.train_step = build_step(self.config, plan, runtime, batches, TimedStep)
        self.compiling_s = 0.0
        """Seconds of the steps that compiled."""

    def measure(self, micro_batch: int, seconds: float) -> Measurement:
        """Take steps of this micro-batch for about `seconds`; return their speed and memory."""
        train_step, runtime = self.train_step, self.runtime
        real = plan_execution(dataclasses.replace(self.config, micro_batch=micro_batch), runtime)
        # On a GPU a pass is short and the host runs ahead of it, so a step of one pass would be
        # unlike a step of training.
        micro_steps = min(real.micro_steps, 4) if runtime.device.type == "cuda" else 1
        tokens = micro_steps * micro_batch * self.config.model.block_size * runtime.world_size
        train_step.plan = dataclasses.replace(real, micro_steps=micro_steps, tokens_per_step=tokens)
        train_step.model.loss_chunk = real.loss_chunk
        train_step.batches = RandomBatches(self.config.model, micro_batch)
        if real.compiled != "none":
            # Otherwise the second size would be compiled for any size, and run slower than a run
            # that has one size only.
            torch.compiler.reset()
        _forget_peak(self.runtime)
        began = time.perf_counter()
        taken_s, passes_s = self._take_step()
        steps = 1
        if real.compiled != "none":
            self.compiling_s += taken_s
        # The first step warms up. If it took all the time, it is the measurement after all, unless
        # it compiled, which takes time of its own.
        if real.compiled != "none" or not runtime.any_rank(taken_s > seconds):
            steps, taken_s, passes_s = 0, 0.0, 0.0
            began = time.perf_counter() if real.compiled != "none" else began
            while True:
                step_s, its_passes_s = self._take_step()
                steps, taken_s, passes_s = steps + 1, taken_s + step_s, passes_s + its_passes_s
                if runtime.any_rank(time.perf_counter() - began > seconds):
                    break
        pass_s = passes_s / steps / micro_steps
        step_s = real.micro_steps * pass_s + (taken_s - passes_s) / steps
        return Measurement(micro_batch, real.tokens_per_step / step_s, pass_s, runtime.peak_memory())

    def _take_step(self) -> tuple[float, float]:
        """Take a step; return the seconds of the step, and those of its passes."""
        self.train_step.passes_s = 0.0
        began = time.perf_counter()
        self.train_step.take_step(self.step)
        self.runtime.synchronize()
        self.step += 1
        return time.perf_counter() - began, self.train_step.passes_s


def probe_micro_batches(config: TrainConfig, runtime: Runtime, sizes: Sequence[int], seconds: float) -> Sweep:
    """Try micro-batches on this process's device alone, smallest first, for about `seconds`.

    With several processes, call it on one of them. The figures leave out their communication.
    """
    room = int(ROOM * free_memory(runtime))
    alone = dataclasses.replace(runtime, rank=0, world_size=1)
    share = config.tokens_per_step // runtime.world_size
    config = dataclasses.replace(config, micro_batch=sizes[0], tokens_per_step=share, precision=runtime.precision)
    # A model that is far too large may not even be built.
    if estimate_resources(config, alone).memory_bytes > room:
        return Sweep([], room, 0)
    run_sweep = _sweep_in_child if runtime.device.type == "cpu" else _sweep_here
    measurements: list[Measurement] = []
    large = [size for size in sizes if size >= LEAST_COMPILED]
    if runtime.device.type == "cuda" and config.compile and len(large) > 1:
        measurements = list(run_sweep(config, alone, large, seconds, room))
        config = dataclasses.replace(config, compile=False)
    if not measurements:
        measurements = list(run_sweep(config, alone, sizes, seconds, room))
    slope = _sequence_bytes(config, alone)
    fitting = [size for size in sizes if measurements and predicted_peak(measurements, size, slope) <= room]
    return Sweep(measurements, room, max([*fitting, *(m.micro_batch for m in measurements)], default=0))


def free_memory(runtime: Runtime) -> int:
    """Return the bytes that this process may take on its device."""
    return runtime.free_memory()


def _sweep_here(
    config: TrainConfig, runtime: Runtime, sizes: Sequence[int], seconds: float, room: int
) -> Iterator[Measurement]:
    """Sweep in this process, and free the device's memory afterwards."""
    slope = _sequence_bytes(config, runtime) if runtime.device.type == "cpu" else 0.0
    tried: Probe | None = None

    def measure(size: int, seconds: float) -> Measurement | None:
        nonlocal tried
        try:
            tried = tried or Probe(config, runtime, many_sizes=len(sizes) > 1)
            return tried.measure(size, seconds)
        except (torch.OutOfMemoryError, MemoryError):
            return None
        except RuntimeError as error:  # the allocators of CPUs and of Metal raise a plain RuntimeError
            if not re.search("allocate memory|out of memory", str(error)):
                raise
            return None

    try:
        yield from sweep_micro_batches(
            measure, sizes, seconds, room, slope, lambda: tried.compiling_s if tried is not None else 0.0
        )
    finally:
        tried = None
        gc.collect()
        if runtime.device.type == "cuda":
            torch.cuda.empty_cache()


def _sequence_bytes(config: TrainConfig, runtime: Runtime) -> float:
    """Return the bytes of one more sequence, by formula."""
    return estimate_resources(dataclasses.replace(config, micro_batch=1), runtime).activation_bytes


GROUP_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""Variables that torchrun sets for its processes. The child is not one of them, so it gets none."""


def _sweep_in_child(
    config: TrainConfig, runtime: Runtime, sizes: Sequence[int], seconds: float, room: int
) -> list[Measurement]:
    """Sweep in another process; return what it measured before it ended, even if it was killed.

    Raises:
        UserError: one sequence takes too long, or the steps fail for another reason than memory.
    """
    request = {
        "config": to_dict(config), "precision": runtime.precision, "sizes": list(sizes), "seconds": seconds,
        "room": room, "threads": torch.get_num_threads(), "plugins": [str(path) for path in plugins.LOADED.values()],
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in GROUP_VARIABLES}
    try:
        child = parent.run_python(
            ["-m", "gpt_research.estimate.probe"], input=json.dumps(request), environment=environment,
            timeout=3 * seconds + LONGEST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        measurements = _lines(late.stdout.decode() if late.stdout else "")
        if not measurements:
            raise UserError(
                f"One sequence takes more than {LONGEST_SECONDS / 60:.0f} minutes here: this model is hopeless on "
                "this machine. Make it smaller, or take --config tiny-cpu."
            ) from None
        return measurements
    # A negative code is a signal: the kernel killed the child, because memory ran out.
    if child.returncode > 0 and not child.stderr.rstrip().endswith("MemoryError"):
        reason = child.stderr.strip().splitlines()[-1:]
        raise UserError(f"The steps that were to be measured failed, as training would: {''.join(reason)[:300]}")
    return _lines(child.stdout)


LONGEST_SECONDS = 600.0
"""Seconds that a child may take beyond its time, because a large model takes long to start."""


def _lines(text: str) -> list[Measurement]:
    # A child that was killed may leave half a line.
    return [Measurement(**json.loads(line)) for line in text.splitlines() if line.endswith("}")]


def _forget_peak(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
    elif runtime.device.type == "cpu":
        machine.forget_peak()


def _main() -> None:
    """Carry out the request of `_sweep_in_child`; print one JSON line for each size."""
    machine.die_first()
    request: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    for path in request["plugins"]:
        plugins.load(path)
    fields = request["config"]
    config = TrainConfig(
        **{
            **fields,
            "model": GPTConfig(**fields["model"]),
            "optimizer": OptimizerConfig(**fields["optimizer"]),
            "wandb": WandbConfig(**fields["wandb"]),
        }
    )
    runtime = startup.start("cpu", request["precision"])
    for measured in _sweep_here(config, runtime, request["sizes"], request["seconds"], request["room"]):
        print(json.dumps(dataclasses.asdict(measured)), flush=True)


if __name__ == "__main__":
    _main()
