"""Makes a number of `micro_batch: auto` by measuring, before anything else is built.

On an NVIDIA or AMD card a run that names none is measured too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.startup import start
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import free_memory, probe_micro_batches
from gpt_research.estimate.resources import estimate_resources
from gpt_research.estimate.sizes import ROOM, fitting_micro_batches, measures, usual_micro_batch
from gpt_research.settings_history import run_config
from gpt_research.training.agreement import agree_on_settings, opened_alike
from gpt_research.training.assembly import plan_execution
from gpt_research.training.inputs import TrainingData

AUTO_SECONDS = 20.0
"""The longest that `--micro_batch auto` tries sizes, without start-up."""


def resolve_micro_batch(config: TrainConfig, note: Callable[[str], None]) -> TrainConfig:
    """Return the settings with a number as `micro_batch`, the same on all processes.

    Args:
        note: called with a sentence about the sizes that were tried.

    Raises:
        UserError: not even one sequence fits, or the step does not divide over the devices.
    """
    if isinstance(config.micro_batch, int):
        return config
    runtime = start(config.device, config.precision, deterministic=config.deterministic)
    if not measures(config, runtime):
        return dataclasses.replace(config, micro_batch=usual_micro_batch(config, runtime.world_size))
    agree_on_settings(runtime, config)
    data = opened_alike(runtime, Path(config.data), lambda: TrainingData.open(config))
    shaped = dataclasses.replace(config, precision=runtime.precision, model=data.model)
    sizes = fitting_micro_batches(shaped, runtime.world_size)
    number = 0
    if runtime.is_main:
        # A resumed run keeps its number, because another one would add up gradients in another
        # order, and so round differently.
        number = _number_of_run(config, sizes) or _choose(shaped, runtime, sizes, note)
    number = runtime.broadcast(number)
    if number == 0:
        raise UserError(
            "micro_batch is auto, but not even one sequence fits the memory that is free. Make the model or "
            "model.block_size smaller, or add --gradient_checkpointing."
        )
    return dataclasses.replace(config, micro_batch=number)


def as_probed(config: TrainConfig, runtime: Runtime, sizes: Sequence[int]) -> TrainConfig:
    """Return the settings whose steps are to be tried: compiled only if the run is long.

    A short run is over sooner than all tries would compile. Plain steps take more memory than
    compiled ones, so a size that fits without compilation fits with it.
    """
    alone = dataclasses.replace(runtime, rank=0, world_size=1)
    share = config.tokens_per_step // runtime.world_size
    plan = plan_execution(dataclasses.replace(config, micro_batch=sizes[-1], tokens_per_step=share), alone)
    return dataclasses.replace(config, compile=plan.compiled == "whole")


def _number_of_run(config: TrainConfig, sizes: Sequence[int]) -> int:
    """Return the micro-batch of the run that `config` resumes; 0 if none, or if it divides no
    step.
    """
    run = Path(config.out)
    if not ((run / "config.yaml").is_file() and saved_steps(run)):
        return 0
    number = run_config(run).micro_batch
    return number if sizes[-1] % number == 0 else 0


def _choose(config: TrainConfig, runtime: Runtime, sizes: Sequence[int], note: Callable[[str], None]) -> int:
    config = dataclasses.replace(config, micro_batch=1)
    if plan_execution(config, runtime).shards > 1:
        # One device cannot hold the model, so nothing can be measured on rank 0 alone.
        room = ROOM * free_memory(runtime)
        needed = {
            size: estimate_resources(dataclasses.replace(config, micro_batch=size), runtime).memory_bytes
            for size in sizes
        }
        return max((size for size, memory in needed.items() if memory <= room), default=0)
    sweep = probe_micro_batches(as_probed(config, runtime, sizes), runtime, sizes, AUTO_SECONDS)
    if not sweep.measurements:
        return 0
    best = sweep.fastest
    note(
        f"micro_batch auto: {best.micro_batch} of {', '.join(str(m.micro_batch) for m in sweep.measurements)} tried, "
        f"{best.tokens_per_s:,.0f} tokens/s and {best.peak_bytes / 1e9:.1f} GB"
    )
    return best.micro_batch
