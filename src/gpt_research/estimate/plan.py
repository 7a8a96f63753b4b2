"""Estimates time, memory and disk of a run before it begins, from formulas and measured steps.

`cli.plan` prints the result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gpt_research.base.peak_flops import about_the_peak, peak_flops
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import find_config, read_yaml
from gpt_research.config import MicroBatch, TrainConfig
from gpt_research.estimate.cards import RuntimeElsewhere
from gpt_research.estimate.probe import Measurement, Probe, Sweep, probe_micro_batches
from gpt_research.estimate.resources import ResourceEstimate, estimate_resources
from gpt_research.estimate.sizes import ROOM, fitting_micro_batches, measures, usual_micro_batch
from gpt_research.estimate.time_estimate import (
    SMALL_PRESET,
    TimeEstimate,
    estimate_time,
    hopeless_sentence,
    repeats_sentence,
)
from gpt_research.training.assembly import plan_execution
from gpt_research.training.inputs import TrainingData, loader_of_run

GB = 1e9
SWEEP_SHARE = 0.4
"""Share of the time that goes into trying micro-batches; the rest measures the chosen one."""


@dataclass(frozen=True)
class RunPlan:
    """The estimate of one run."""

    config: TrainConfig
    """With the vocabulary of the data set, and the micro-batch that the figures are for."""
    resources: ResourceEstimate
    epochs: dict[str, float]
    """How often each corpus will be seen; empty without a data set."""
    free_disk: int | None
    """Bytes that are free where the run folder will be; None for a machine elsewhere."""
    peak_flops: float = 0.0
    """FLOP/s of all devices together; 0 if only formulas were asked for."""
    compiled: str = ""
    """What is compiled and why, in a few words; empty on a CPU, where nothing is by default."""
    sweep: Sweep | None = None
    measured: Measurement | None = None
    """The steps that the speed was measured on."""
    time: TimeEstimate | None = None


def plan_run(config: TrainConfig, runtime: Runtime, seconds: float) -> RunPlan:
    """Return the estimate for `config` on the devices of `runtime`.

    Args:
        seconds: measure steps for about this long; 0 gives the formulas only.

    Raises:
        UserError: the data set is damaged or has another vocabulary, or the step does not divide
            over the devices.
    """
    config, epochs = _with_data(config, runtime)
    sizes = fitting_micro_batches(config, runtime.world_size)
    if config.micro_batch is None:
        number = "auto" if measures(config, runtime) else usual_micro_batch(config, runtime.world_size)
        config = dataclasses.replace(config, micro_batch=cast(int, number))
    disk = _free_disk(Path(config.out))
    if not seconds:
        config = dataclasses.replace(config, micro_batch=1) if config.micro_batch == "auto" else config
        return _with_compilation(RunPlan(config, estimate_resources(config, runtime), epochs, disk), runtime)
    peak = peak_flops(runtime) * runtime.world_size
    sweep, measured = _measure(config, runtime, sizes, seconds)
    config = dataclasses.replace(config, micro_batch=measured.micro_batch if measured else sizes[0])
    resources = estimate_resources(config, runtime)
    if measured is None:
        return _with_compilation(RunPlan(config, resources, epochs, disk, peak, sweep=sweep), runtime)
    # A peak that was measured on a busy machine is too low.
    peak = max(peak, measured.tokens_per_s * resources.flops_per_token)
    duration = estimate_time(
        config, measured.tokens_per_s, resources.flops_per_token, peak, corpora=max(1, len(epochs))
    )
    run_plan = RunPlan(config, resources, epochs, disk, peak, sweep=sweep, measured=measured, time=duration)
    return _with_compilation(run_plan, runtime)


def plan_elsewhere(config: TrainConfig, runtime: RuntimeElsewhere, mfu: float) -> RunPlan:
    """Return the estimate for `config` on cards that are not here, at a share of their peak.

    The micro-batch is that of the run, or the largest below it that fits the card by formula.

    Raises:
        UserError: as `plan_run` does.
    """
    config, epochs = _with_data(config, runtime)
    sizes = fitting_micro_batches(config, runtime.world_size)
    wanted = config.micro_batch if isinstance(config.micro_batch, int) else sizes[-1]

    def with_size(size: int) -> tuple[TrainConfig, ResourceEstimate]:
        sized = dataclasses.replace(config, micro_batch=size)
        return sized, estimate_resources(sized, runtime)

    tried = [wanted, *(size for size in reversed(sizes) if size < wanted)]
    plans = (with_size(size) for size in tried)
    room = ROOM * runtime.device_memory()
    config, resources = next((p for p in plans if p[1].memory_bytes <= room), with_size(tried[-1]))
    speed = runtime.peak_flops * mfu / resources.flops_per_token
    duration = estimate_time(config, speed, resources.flops_per_token, runtime.peak_flops, corpora=max(1, len(epochs)))
    return _with_compilation(RunPlan(config, resources, epochs, None, runtime.peak_flops, time=duration), runtime)


def _with_compilation(run_plan: RunPlan, runtime: Runtime) -> RunPlan:
    plan = plan_execution(run_plan.config, runtime)
    if runtime.device.type != "cuda" and plan.compiled == "none":
        return run_plan
    return dataclasses.replace(run_plan, compiled=f"{plan.compiled}: {plan.compiled_because}")


def _with_data(config: TrainConfig, runtime: Runtime) -> tuple[TrainConfig, dict[str, float]]:
    """Return the settings with precision and vocabulary, and how often each corpus is read."""
    config = dataclasses.replace(config, precision=runtime.precision)
    if not Path(config.data).is_dir():
        return config, {}
    data = TrainingData.open(config)
    config = dataclasses.replace(config, model=data.model)
    order = loader_of_run(dataclasses.replace(config, micro_batch=1), data.dataset.train).order
    return config, order.passes(config.max_steps * config.tokens_per_step // config.model.block_size)


def _measure(
    config: TrainConfig, runtime: Runtime, sizes: list[int], seconds: float
) -> tuple[Sweep | None, Measurement | None]:
    """Try micro-batches on rank 0, then measure the chosen one on all ranks together."""
    began = time.perf_counter()
    sweep, number = None, 0
    if runtime.is_main:
        # With plain steps, because compiling each size could take all of the time.
        sweep = probe_micro_batches(dataclasses.replace(config, compile=False), runtime, sizes, SWEEP_SHARE * seconds)
        number = _number_to_measure(config, sweep, seconds - (time.perf_counter() - began))
    number = runtime.broadcast(number)
    left = max(1.0, seconds - (time.perf_counter() - began))
    if number == 0:
        return sweep, None
    if runtime.world_size > 1:
        return sweep, Probe(config, runtime).measure(number, left)
    again = probe_micro_batches(config, runtime, [number], left).measurements
    tried = sweep.measurements if sweep else []
    return sweep, next(iter(again + [m for m in tried if m.micro_batch == number]), None)


def _number_to_measure(config: TrainConfig, sweep: Sweep, seconds: float) -> int:
    """Return the micro-batch to measure: that of the run, or a smaller one if time is short."""
    if not sweep.measurements:
        return 0
    wanted = sweep.fastest.micro_batch if config.micro_batch == "auto" else config.micro_batch
    last = sweep.measurements[-1]
    # One step warms up and one is measured.
    in_time = 2 * last.pass_s * wanted / last.micro_batch <= seconds
    if wanted <= sweep.largest and in_time:
        return wanted
    return max((m.micro_batch for m in sweep.measurements if m.micro_batch <= wanted), default=last.micro_batch)


def _free_disk(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0


def remarks(run_plan: RunPlan, wanted: MicroBatch, runtime: Runtime) -> list[str]:
    """Return sentences for the user if the run is too large, too slow, or too much for the disk."""
    sentences = []
    sweep, measured = run_plan.sweep, run_plan.measured
    if sweep is not None and measured is None:
        need = run_plan.resources.memory_bytes / GB
        sentences.append(
            f"It does not fit: even one sequence takes {need:.1f} GB, and {sweep.room_bytes / GB:.1f} GB may be used. "
            "Add --gradient_checkpointing, or make the model smaller."
        )
    elif sweep is not None and measured is not None and sweep.measurements:
        if isinstance(wanted, int) and wanted > sweep.largest:
            sentences.append(
                f"micro_batch {wanted} does not fit: take --micro_batch {sweep.largest}. The time is for "
                f"{measured.micro_batch}."
            )
        elif isinstance(wanted, int) and wanted != measured.micro_batch:
            sentences.append(
                f"There was no time to measure micro_batch {wanted}: the speed is that of {measured.micro_batch}."
            )
        best = sweep.fastest
        own = next((m for m in sweep.measurements if m.micro_batch == wanted), None)
        if own is not None and best.tokens_per_s > 1.1 * own.tokens_per_s:
            sentences.append(
                f"--micro_batch {best.micro_batch} is {best.tokens_per_s / own.tokens_per_s:.1f} times as fast."
            )
    if isinstance(runtime, RuntimeElsewhere):
        sentences += _memory_elsewhere(run_plan, wanted, runtime)
    elif run_plan.time is not None and run_plan.time.hopeless:
        sentences.append(hopeless_sentence(run_plan.time, runtime, small_run(runtime, run_plan.config)))
    measured_here = run_plan.peak_flops and not isinstance(runtime, RuntimeElsewhere)
    if measured_here and (said := about_the_peak(runtime, run_plan.peak_flops / runtime.world_size)):
        sentences.append(said)
    if repeated := repeats_sentence(run_plan.epochs, run_plan.config.max_steps):
        sentences.append(repeated)
    if run_plan.free_disk is not None and run_plan.resources.disk_bytes > run_plan.free_disk:
        sentences.append(
            f"The checkpoints do not fit the disk: {run_plan.resources.disk_bytes / GB:.1f} GB, and "
            f"{run_plan.free_disk / GB:.1f} GB are free. Lower --keep_last, or name another disk with --out."
        )
    return sentences


def _memory_elsewhere(run_plan: RunPlan, wanted: MicroBatch, runtime: RuntimeElsewhere) -> list[str]:
    """Return a sentence if the run needs more memory than a card has."""
    need, has = run_plan.resources.memory_bytes / GB, runtime.device_memory() / GB
    if need > ROOM * has:
        return [
            f"It does not fit a {runtime.device_name}: {need:.1f} GB by formula, and the card has {has:.0f} GB. Add "
            "--gradient_checkpointing, take several cards with --parallel fsdp, or make the model smaller."
        ]
    if isinstance(wanted, int) and wanted != run_plan.config.micro_batch:
        return [f"micro_batch {wanted} does not fit a {runtime.device_name}: take {run_plan.config.micro_batch}."]
    return []


def as_dict(run_plan: RunPlan, price_per_hour: float = 0.0) -> dict[str, Any]:
    """Return a plan as a dictionary for JSON; bytes, seconds and FLOPs are plain numbers."""
    resources, duration, sweep = run_plan.resources, run_plan.time, run_plan.sweep
    result: dict[str, Any] = {
        **dataclasses.asdict(resources),
        "memory_bytes": resources.memory_bytes,
        "micro_batch": run_plan.config.micro_batch,
        "epochs": run_plan.epochs,
        "free_disk_bytes": run_plan.free_disk,
    }
    if sweep is not None:
        result["largest_micro_batch"] = sweep.largest
        result["room_bytes"] = sweep.room_bytes
        result["tried"] = [dataclasses.asdict(m) for m in sweep.measurements]
    if run_plan.measured is not None:
        result["peak_bytes"] = run_plan.measured.peak_bytes
    if duration is not None:
        result |= {
            "tokens_per_s": duration.tokens_per_s,
            "mfu": duration.mfu,
            "peak_flops": run_plan.peak_flops,
            "hours": duration.seconds / 3600,
            "hopeless": duration.hopeless,
        }
        if price_per_hour:
            result["cost"] = duration.seconds / 3600 * price_per_hour
    return result


def small_run(runtime: Runtime, config: TrainConfig, seconds: float = 3.0) -> TimeEstimate | None:
    """Return the time of the small preset on one device, with the vocabulary of `config`, or
    None.
    """
    with contextlib.suppress(Exception):  # the sentence is only a remark, so a failure here must not end the command
        small = read_yaml(TrainConfig, find_config(SMALL_PRESET))
        model = dataclasses.replace(small.model, vocab_size=config.model.vocab_size)
        small = dataclasses.replace(small, model=model, precision=runtime.precision)
        alone = dataclasses.replace(runtime, rank=0, world_size=1)
        number = small.micro_batch if small.micro_batch != "auto" else fitting_micro_batches(small, 1)[-1]
        measured = probe_micro_batches(small, alone, [number], seconds).measurements[0]
        return estimate_time(small, measured.tokens_per_s, 1.0, 1.0)
    return None
