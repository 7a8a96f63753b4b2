"""The micro-batches that a step can have, and the one that it has if none is named."""

from __future__ import annotations

import dataclasses

from gpt_research.base.runtime import Runtime
from gpt_research.config import USUAL_MICRO_BATCH, TrainConfig

ROOM = 0.9
"""Share of the free memory that may be filled."""


def fitting_micro_batches(config: TrainConfig, world_size: int) -> list[int]:
    """Return micro-batches that divide a step evenly, each at least twice the one before it.

    Raises:
        UserError: the sequences of a step do not divide over the devices.
    """
    share = dataclasses.replace(config, micro_batch=1).accumulation_steps(world_size)
    sizes = [1]
    for size in range(2, share + 1):
        if share % size == 0 and size >= 2 * sizes[-1]:
            sizes.append(size)
    return sizes


def measures(config: TrainConfig, runtime: Runtime) -> bool:
    """Return whether the micro-batch is to be measured: it is `auto`, or a card has none named."""
    return config.micro_batch == "auto" or (config.micro_batch is None and runtime.device.type == "cuda")


def usual_micro_batch(config: TrainConfig, world_size: int) -> int:
    """Return 8, or the largest number below it that divides the step."""
    return max(size for size in fitting_micro_batches(config, world_size) if size <= USUAL_MICRO_BATCH)
