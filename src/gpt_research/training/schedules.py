"""The learning rate of a step, a pure function of its number: a resumed run needs no state for it.

Every schedule begins with a linear warm-up; `SCHEDULES` holds what comes after it. To add one,
write a function like those below and put it into the dictionary under its name.
Sources: Loshchilov and Hutter 2017, "SGDR", for the cosine (without restarts); Hu et al. 2024,
"MiniCPM", for wsd; Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed
Training Durations", for its shape 1-sqrt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gpt_research.base.errors import look_up
from gpt_research.config import TrainConfig

SCHEDULE_SETTINGS = ("max_steps", "schedule", "warmup_steps", "min_lr_ratio", "decay_ratio", "decay_shape")
"""Settings that change the weights by the learning rate of each step alone."""


@dataclass(frozen=True)
class Horizon:
    """The steps of a run, and how far its learning rate falls."""

    warmup_steps: int
    max_steps: int
    min_ratio: float
    """The last learning rate as a share of the highest."""
    decay_ratio: float = 0.2
    """Share of all steps in which wsd decays."""
    decay_shape: str = "1-sqrt"
    """An entry of `SHAPES`."""

    def progress(self, step: int) -> float:
        """Return the share of the steps after the warm-up that come before `step`, 0 to 1."""
        steps = self.max_steps - 1 - self.warmup_steps
        # A single step after the warm-up is the last one, so the rate has fallen by then.
        return min((step - self.warmup_steps) / steps, 1.0) if steps > 0 else float(step > 0)

    def fall(self, remaining: float) -> float:
        """Return the share of the highest rate when `remaining` (1 to 0) of the fall is still to
        come.
        """
        return self.min_ratio + (1 - self.min_ratio) * remaining

    @property
    def decay_steps(self) -> int:
        """The last steps of the run, in which wsd decays: at least one, unless the share is 0."""
        if not self.decay_ratio:
            return 0
        # The first step of a run is never a part of the decay.
        most = max(0, self.max_steps - max(1, self.warmup_steps))
        return min(max(1, round(self.decay_ratio * self.max_steps)), most)


def cosine(step: int, horizon: Horizon) -> float:
    return horizon.fall(0.5 * (1 + math.cos(math.pi * horizon.progress(step))))


def linear(step: int, horizon: Horizon) -> float:
    return horizon.fall(1 - horizon.progress(step))


def constant(step: int, horizon: Horizon) -> float:
    return 1.0


def rising(step: int, horizon: Horizon) -> float:
    """Rise by the same factor each step, to the highest rate: a learning-rate range test."""
    return horizon.min_ratio ** (1 - horizon.progress(step))


SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "1-sqrt": lambda done: 1 - math.sqrt(done),
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
}
"""From the share of the decay that is done (0 to 1) to the share of the fall that remains."""


def wsd(step: int, horizon: Horizon) -> float:
    """Stay at the highest rate (stable), and fall in the last steps (decay)."""
    before = horizon.max_steps - horizon.decay_steps
    # The first step of the decay is lower than those before it, and the last one is the lowest.
    done = min((step + 1 - before) / max(1, horizon.decay_steps), 1.0)
    return 1.0 if done <= 0 else horizon.fall(SHAPES[horizon.decay_shape](done))


Schedule = Callable[[int, Horizon], float]
"""Takes a step after the warm-up, counted from 0, and returns its share of the highest learning
rate."""

SCHEDULES: dict[str, Schedule] = {
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
    "constant": constant,
    "rising": rising,
}


def fitting_warmup(warmup_steps: int, max_steps: int) -> int:
    """Return the steps of the warm-up: a tenth of a run that would end before its warm-up does."""
    return warmup_steps if warmup_steps <= max_steps else max(1, max_steps // 10)


@dataclass(frozen=True)
class LearningRates:
    """The learning rate of each step of a run."""

    highest: float
    schedule: Schedule
    horizon: Horizon

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.horizon.warmup_steps:
            return self.highest * (step + 1) / self.horizon.warmup_steps
        return self.highest * self.schedule(step, self.horizon)

    @property
    def steps_before_decay(self) -> int:
        """The steps of wsd before its decay, from where a run can go on to any later end; 0 for
        other schedules.
        """
        horizon = self.horizon
        return horizon.max_steps - horizon.decay_steps if self.schedule is wsd and horizon.decay_steps else 0


def learning_rates(config: TrainConfig) -> LearningRates:
    """Return the learning rates of a run.

    Raises:
        UserError: no schedule has the name that `config.schedule` gives.
    """
    schedule, warmup_steps = look_up(SCHEDULES, config.schedule, "schedule"), config.warmup_steps
    horizon = Horizon(
        fitting_warmup(warmup_steps, config.max_steps),
        config.max_steps,
        config.min_lr_ratio,
        config.decay_ratio,
        config.decay_shape,
    )
    return LearningRates(config.learning_rate, schedule, horizon)


def same_so_far(old: TrainConfig, new: TrainConfig, steps: int) -> bool:
    """Return whether the first `steps` steps of a run have the same learning rates under both
    settings, so that it may go on with the new ones as if it had always had them.
    """
    if not {old.schedule, new.schedule} <= SCHEDULES.keys():  # one is of a plugin that is not loaded
        return False
    before, after = learning_rates(old), learning_rates(new)
    return all(before(step) == after(step) for step in range(steps))
