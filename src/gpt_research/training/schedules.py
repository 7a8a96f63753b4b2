"""The learning rate of a step, a pure function of its number: a resumed run needs no state for it.

Every schedule begins with a linear warm-up; `SCHEDULES` holds what comes after it. To add one,
write a function like those below and put it into the dictionary under its name.
Source: Loshchilov and Hutter 2017, "SGDR", for the cosine (without restarts).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gpt_research.base.errors import look_up
from gpt_research.config import TrainConfig


@dataclass(frozen=True)
class Horizon:
    """The steps of a run, and how far its learning rate falls."""

    warmup_steps: int
    max_steps: int
    min_ratio: float
    """The last learning rate as a share of the highest."""

    def progress(self, step: int) -> float:
        """Return the share of the steps after the warm-up that come before `step`, 0 to 1."""
        steps = max(1, self.max_steps - 1 - self.warmup_steps)
        return min((step - self.warmup_steps) / steps, 1.0)

    def fall(self, remaining: float) -> float:
        """Return the share of the highest rate when `remaining` (1 to 0) of the fall is still to
        come.
        """
        return self.min_ratio + (1 - self.min_ratio) * remaining


def cosine(step: int, horizon: Horizon) -> float:
    return horizon.fall(0.5 * (1 + math.cos(math.pi * horizon.progress(step))))


def linear(step: int, horizon: Horizon) -> float:
    return horizon.fall(1 - horizon.progress(step))


def constant(step: int, horizon: Horizon) -> float:
    return 1.0


def rising(step: int, horizon: Horizon) -> float:
    """Rise by the same factor each step, to the highest rate: a learning-rate range test."""
    return horizon.min_ratio ** (1 - horizon.progress(step))


Schedule = Callable[[int, Horizon], float]
"""Takes a step after the warm-up, counted from 0, and returns its share of the highest learning
rate."""

SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "linear": linear, "constant": constant, "rising": rising}


def fitting_warmup(warmup_steps: int, max_steps: int) -> int:
    """Return the steps of the warm-up: a tenth of a run that would end before its warm-up does."""
    return warmup_steps if warmup_steps <= max_steps else max(1, max_steps // 10)


def learning_rates(config: TrainConfig) -> Callable[[int], float]:
    """Return the function from a step, counted from 0, to its learning rate.

    Raises:
        UserError: no schedule has the name that `config.schedule` gives.
    """
    schedule, highest = look_up(SCHEDULES, config.schedule, "schedule"), config.learning_rate
    horizon = Horizon(fitting_warmup(config.warmup_steps, config.max_steps), config.max_steps, config.min_lr_ratio)

    def rate(step: int) -> float:
        if step < horizon.warmup_steps:
            return highest * (step + 1) / horizon.warmup_steps
        return highest * schedule(step, horizon)

    return rate
