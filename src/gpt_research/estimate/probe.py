"""Measuring real steps on this machine: how fast they are, how much memory they take, which micro-batch is best.

A probe takes the steps that training would take, with `Engine`, on random tokens. On a CPU it runs in a process of
its own (`python -m gpt_research.estimate.probe`): the peak of that process is the peak of the steps, and where memory
runs out nothing else dies.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import gpt_research
from gpt_research.base import machine
from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import read_yaml, to_dict
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.estimate.footprint import footprint
from gpt_research.training import parallel
from gpt_research.training.step import Engine, compiles, loss_chunk

ROOM = 0.9
"""Share of the free memory that may be filled."""
GAIN = 1.03
"""A larger micro-batch is worth its memory where it is faster by this factor."""
PATIENCE = 3
"""So many sizes may be no faster before no larger one is tried: on a busy machine one alone says little."""
AUTO_SECONDS = 20.0
"""Time that `--micro_batch auto` takes at most to try sizes, start-up apart."""


@dataclass(frozen=True)
class Measured:
    """Steps of one micro-batch size, as they really ran."""

    micro_batch: int
    tokens_per_s: float
    """Of training as configured, over all processes."""
    pass_s: float
    """One forward and backward pass of one micro-batch."""
    peak_bytes: int
    """Most memory held: of the device, or on a CPU of the whole process."""


@dataclass(frozen=True)
class Probed:
    """What was found of all sizes that were tried."""

    found: list[Measured]
    """Smallest micro-batch first; empty where not even the smallest fits."""
    room_bytes: int
    """Memory that the peak may reach: free on the device, and what the probe held of it."""
    largest: int
    """Largest micro-batch that fits, predicted from those that were tried; 0 where none does."""

    @property
    def fastest(self) -> Measured:
        """The smallest that no other beats by more than `GAIN`."""
        top = max(m.tokens_per_s for m in self.found)
        return next(m for m in self.found if m.tokens_per_s * GAIN >= top)


def fitting_micro_batches(config: TrainConfig, world_size: int) -> list[int]:
    """Return the micro-batches that divide a step evenly over the devices, each at least twice the one before.

    Raises:
        UserError: not even single sequences do.
    """
    share = dataclasses.replace(config, micro_batch=1).accumulation_steps(world_size)
    sizes = [1]
    for size in range(2, share + 1):
        if share % size == 0 and size >= 2 * sizes[-1]:
            sizes.append(size)
    return sizes


def climb(
    measure: Callable[[int, float], Measured | None],
    sizes: Sequence[int],
    seconds: float,
    room: float,
    slope: float = 0.0,
) -> Iterator[Measured]:
    """Measure sizes from the smallest up, until one would not fit, three in a row are no faster, or time is up.

    Args:
        measure: takes a size and the seconds to spend on it; None where memory ran out.
        room: bytes that a peak may reach; a size that is predicted to need more is not tried.
        slope: bytes a sequence to reckon with at least.
    """
    found: list[Measured] = []
    ends_at = time.perf_counter() + seconds
    for index, size in enumerate(sizes):
        left = ends_at - time.perf_counter()
        if found:
            needed = 2 * found[-1].pass_s * size / found[-1].micro_batch  # once to warm up, once to measure
            if needed > left or predicted_peak(found, size, slope) > room:
                return
        measured = measure(size, left / min(4, len(sizes) - index))
        if measured is None:
            return
        yield measured
        found.append(measured)
        before = found[:-PATIENCE]
        if before and max(m.tokens_per_s for m in found[-PATIENCE:]) < GAIN * max(m.tokens_per_s for m in before):
            return


def predicted_peak(found: Sequence[Measured], size: int, slope: float = 0.0) -> float:
    """Predict the peak of a larger micro-batch: memory grows by as much for each sequence, at least by `slope`."""
    last = found[-1]
    if len(found) > 1:
        slope = max(slope, (last.peak_bytes - found[-2].peak_bytes) / (last.micro_batch - found[-2].micro_batch))
    return last.peak_bytes + slope * (size - last.micro_batch)


class RandomBatches:
    """Random tokens of the right shape, the same ones each time: making them is no part of what is measured."""

    def __init__(self, model: GPTConfig, micro_batch: int) -> None:
        windows = torch.randint(model.vocab_size, (micro_batch, model.block_size + 1))
        self.tokens, self.targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def batch(self, step: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tokens, self.targets


class TimedEngine(Engine):
    """Tells the time of the passes apart from that of the update, which comes once a step however many there are."""

    passes_s = 0.0

    def accumulate(self, step: int, stop: Callable[[], bool] = lambda: False) -> torch.Tensor | None:
        self.runtime.synchronize()
        began = time.perf_counter()
        loss = super().accumulate(step, stop)
        self.runtime.synchronize()
        self.passes_s += time.perf_counter() - began
        return loss


class Probe:
    """An engine whose micro-batch can be changed; use it on all processes alike."""

    def __init__(self, config: TrainConfig, runtime: Runtime) -> None:
        config = dataclasses.replace(config, micro_batch=1)
        self.config, self.runtime, self.step = config, runtime, 0
        self.engine = TimedEngine(config, runtime, RandomBatches(config.model, 1))

    def measure(self, micro_batch: int, seconds: float) -> Measured:
        """Take steps of this micro-batch for about `seconds`, at least one after the first, which warms up.

        Where the first alone takes longer, it has to do; unless it compiled, which takes its own time.
        """
        engine, runtime = self.engine, self.runtime
        real = dataclasses.replace(self.config, micro_batch=micro_batch)
        passes = real.accumulation_steps(runtime.world_size)
        # On a GPU a pass is short and the host is ahead of it; several make a step like that of training.
        engine.micro_steps = min(passes, 4) if runtime.device.type == "cuda" else 1
        tokens = engine.micro_steps * micro_batch * real.model.block_size * runtime.world_size
        engine.config = dataclasses.replace(real, tokens_per_step=tokens)
        engine.model.loss_chunk = loss_chunk(engine.config, runtime)
        engine.batches = RandomBatches(real.model, micro_batch)
        _forget_peak(runtime)
        began = time.perf_counter()
        taken_s, passes_s = self._take_step()
        steps = 1
        compiled = compiles(real, runtime)
        if compiled or not runtime.any_of_all(taken_s > seconds):
            steps, taken_s, passes_s = 0, 0.0, 0.0
            began = time.perf_counter() if compiled else began
            while True:
                times = self._take_step()
                steps, taken_s, passes_s = steps + 1, taken_s + times[0], passes_s + times[1]
                if runtime.any_of_all(time.perf_counter() - began > seconds):
                    break
        pass_s = passes_s / steps / engine.micro_steps
        step_s = passes * pass_s + (taken_s - passes_s) / steps
        return Measured(micro_batch, real.tokens_per_step / step_s, pass_s, _peak(runtime))

    def _take_step(self) -> tuple[float, float]:
        """Take a step; return the seconds of it, and of its passes."""
        self.engine.passes_s = 0.0
        began = time.perf_counter()
        self.engine.take_step(self.step)
        self.runtime.synchronize()
        self.step += 1
        return time.perf_counter() - began, self.engine.passes_s


def probe(config: TrainConfig, runtime: Runtime, sizes: Sequence[int], seconds: float) -> Probed:
    """Try micro-batches on this process's device alone, smallest first, for about `seconds`.

    Several processes: call it on one. What they cost each other is not in its figures, and a model that is sharded
    over them is not tried at all: how much of it a device holds is reckoned instead.
    """
    room = int(ROOM * free_memory(runtime))
    alone = dataclasses.replace(runtime, rank=0, world_size=1)
    share = config.tokens_per_step // runtime.world_size
    config = dataclasses.replace(config, micro_batch=sizes[0], tokens_per_step=share, precision=runtime.precision)
    if footprint(config, alone).memory_bytes > room:
        return Probed([], room, 0)
    climber = _climb_in_a_child if runtime.device.type == "cpu" else _climb_here
    found = list(climber(config, alone, sizes, seconds, room))
    slope = _sequence_bytes(config, alone)
    fitting = [size for size in sizes if found and predicted_peak(found, size, slope) <= room]
    return Probed(found, room, max([*fitting, *(m.micro_batch for m in found)], default=0))


def free_memory(runtime: Runtime) -> int:
    """Return the bytes that this process may take on its device, with what torch has put by there."""
    if runtime.device.type == "cuda":
        return torch.cuda.mem_get_info(runtime.device)[0] + torch.cuda.memory_reserved(runtime.device)
    if runtime.device.type == "mps":
        return torch.mps.recommended_max_memory()
    return machine.free_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _climb_here(
    config: TrainConfig, runtime: Runtime, sizes: Sequence[int], seconds: float, room: int
) -> Iterator[Measured]:
    """Climb in this process, and give the device's memory back."""
    slope = _sequence_bytes(config, runtime) if runtime.device.type == "cpu" else 0.0
    tried: Probe | None = None

    def measure(size: int, seconds: float) -> Measured | None:
        nonlocal tried
        try:
            tried = tried or Probe(config, runtime)
            return tried.measure(size, seconds)
        except (torch.OutOfMemoryError, MemoryError):
            return None
        except RuntimeError as error:  # the CPU's allocator has no exception of its own
            if "allocate memory" not in str(error):
                raise
            return None

    try:
        yield from climb(measure, sizes, seconds, room, slope)
    finally:
        tried = None
        gc.collect()
        if runtime.device.type == "cuda":
            torch.cuda.empty_cache()


def _sequence_bytes(config: TrainConfig, runtime: Runtime) -> float:
    """Bytes of one more sequence, by the formula: what to reckon with before two sizes were measured."""
    return footprint(dataclasses.replace(config, micro_batch=1), runtime).activation_bytes


OF_THE_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""What torchrun tells its processes; a child that is none of them must not hear it."""


def _climb_in_a_child(
    config: TrainConfig, runtime: Runtime, sizes: Sequence[int], seconds: float, room: int
) -> list[Measured]:
    """Climb in another process, and take what it found before it ended, however it did.

    Raises:
        UserError: one sequence takes too long, or the steps fail, and not for want of memory.
    """
    request = {
        "config": to_dict(config), "precision": runtime.precision, "sizes": list(sizes), "seconds": seconds,
        "room": room, "threads": torch.get_num_threads(),
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_GROUP}
    paths = [str(Path(gpt_research.__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    try:
        child = subprocess.run(
            [sys.executable, "-m", "gpt_research.estimate.probe"], input=json.dumps(request), env=environment,
            capture_output=True, text=True, timeout=3 * seconds + LONGEST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        found = _lines(late.stdout.decode() if late.stdout else "")
        if not found:
            raise UserError(
                f"One sequence takes more than {LONGEST_SECONDS / 60:.0f} minutes here: this model is hopeless on "
                "this machine. Make it smaller, or take configs/tiny-cpu.yaml."
            ) from None
        return found
    if child.returncode > 0 and not child.stderr.rstrip().endswith("MemoryError"):
        reason = child.stderr.strip().splitlines()[-1:]
        raise UserError(f"The steps that were to be measured failed, as training would: {''.join(reason)[:300]}")
    return _lines(child.stdout)


LONGEST_SECONDS = 600.0
"""What a child may take beyond its time, for a large model's start and its first pass."""


def _lines(text: str) -> list[Measured]:
    return [Measured(**json.loads(line)) for line in text.splitlines() if line.endswith("}")]


def _forget_peak(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
    elif runtime.device.type == "cpu":
        machine.forget_peak()


def _peak(runtime: Runtime) -> int:
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(runtime.device)
    return torch.mps.driver_allocated_memory() if runtime.device.type == "mps" else machine.peak_memory()


def settle_micro_batch(config: TrainConfig, runtime: Runtime, tell: Callable[[str], None]) -> TrainConfig:
    """Put a number in the place of `micro_batch: auto`, the same on all processes.

    A run that goes on keeps its number, for another one adds up in another order, and so rounds differently.

    Raises:
        UserError: not even one sequence fits, or the step does not divide over the devices.
    """
    if config.micro_batch != "auto":
        return config
    sizes = fitting_micro_batches(config, runtime.world_size)
    number = runtime.agree(
        (_number_of_run(config, sizes) or _choose(config, runtime, sizes, tell)) if runtime.is_main else 0
    )
    if number == 0:
        raise UserError(
            "micro_batch is auto, but not even one sequence fits the memory that is free. Make the model or "
            "model.block_size smaller, or add --gradient_checkpointing."
        )
    return dataclasses.replace(config, micro_batch=number)


def _number_of_run(config: TrainConfig, sizes: Sequence[int]) -> int:
    """Return the micro-batch of the run that `config` goes on with; 0 where there is none that divides the step."""
    run = Path(config.out)
    if not ((run / "config.yaml").is_file() and saved_steps(run)):
        return 0
    number = read_yaml(TrainConfig, run / "config.yaml").micro_batch
    return number if (sizes[-1] % number == 0) else 0


def _choose(config: TrainConfig, runtime: Runtime, sizes: Sequence[int], tell: Callable[[str], None]) -> int:
    config = dataclasses.replace(config, micro_batch=1)
    if parallel.choose(config.parallel, config.model, runtime) == "fsdp":
        room = ROOM * free_memory(runtime)
        fitting = [
            m for m in sizes if footprint(dataclasses.replace(config, micro_batch=m), runtime).memory_bytes <= room
        ]
        return max(fitting, default=0)
    # compiling would take longer than all tries; compiled steps take less memory
    probed = probe(dataclasses.replace(config, compile=False), runtime, sizes, AUTO_SECONDS)
    if not probed.found:
        return 0
    best = probed.fastest
    tell(
        f"micro_batch auto: {best.micro_batch} of {', '.join(str(m.micro_batch) for m in probed.found)} tried, "
        f"{best.tokens_per_s:,.0f} tokens/s and {best.peak_bytes / 1e9:.1f} GB"
    )
    return best.micro_batch


def _main() -> None:
    """Do what `_climb_in_a_child` asks for; one line for each size."""
    machine.die_first()
    request: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    fields = request["config"]
    config = TrainConfig(**{**fields, "model": GPTConfig(**fields["model"])})
    runtime = runtimes.start("cpu", request["precision"])
    for measured in _climb_here(config, runtime, request["sizes"], request["seconds"], request["room"]):
        print(json.dumps(dataclasses.asdict(measured)), flush=True)


if __name__ == "__main__":
    _main()
