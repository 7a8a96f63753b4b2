"""The learning rate of a step: a pure function, so that a resumed run needs no state."""

from __future__ import annotations

import math

from gpt_research.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of `step`, counted from 0: linear warm-up, then decay to min_lr_ratio at the last step.

    Source: Loshchilov and Hutter 2017 (cosine decay), without restarts.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.max_steps - 1 - config.warmup_steps)
    progress = min(progress, 1.0)
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return config.learning_rate * (config.min_lr_ratio + (1 - config.min_lr_ratio) * shape)
