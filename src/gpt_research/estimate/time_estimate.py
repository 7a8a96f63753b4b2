"""The time that a run takes at a measured speed, in numbers and in words."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from gpt_research.base import hints
from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig

HOPELESS_S = 14 * 86400.0
"""A run that takes longer than two weeks is called hopeless."""
SMALL_PRESET = "tiny-cpu"
"""The preset to try instead of a hopeless run."""
MOST_EPOCHS = 16
"""Passes over a corpus after which another one teaches little."""


@dataclass(frozen=True)
class TimeEstimate:
    """The rest of a run at a given speed."""

    tokens_per_s: float
    mfu: float
    seconds: float
    """Steps and evaluations, without samples and checkpoints."""

    @property
    def hopeless(self) -> bool:
        return self.seconds > HOPELESS_S

    @property
    def ends_at(self) -> str:
        """Date and time of the end if it began now; without the time if that is weeks away."""
        if self.seconds > 1000 * 365 * 86400:  # datetime ends with the year 9999
            return "in thousands of years"
        end = datetime.datetime.now() + datetime.timedelta(seconds=self.seconds)
        return f"{end:%Y-%m-%d}" if self.hopeless else f"{end:%Y-%m-%d %H:%M}"


def estimate_time(
    config: TrainConfig,
    tokens_per_s: float,
    flops_per_token: float,
    peak_flops: float,
    *,
    done: int = 0,
    corpora: int = 1,
) -> TimeEstimate:
    """Estimate what is left of a run after `done` steps.

    Args:
        tokens_per_s: over all processes.
        peak_flops: FLOP/s of all devices together, the base of MFU.
        corpora: how many are evaluated, each on `eval_tokens`.
    """
    steps = config.max_steps - done
    evaluations = max(1, steps // config.eval_interval) if config.eval_interval else 1
    # An evaluated token takes a third of a trained one, because it needs the forward pass only.
    # The averaged weights are evaluated too.
    evaluations *= 2 if config.ema_decay else 1
    tokens = steps * config.tokens_per_step + evaluations * corpora * config.eval_tokens / 3
    return TimeEstimate(tokens_per_s, tokens_per_s * flops_per_token / peak_flops, tokens / tokens_per_s)


def in_words(seconds: float) -> str:
    """Return a time in one unit: 40 seconds, 6 minutes, 3.2 hours, 87 days, 4.1 years."""
    for unit, size, most in (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 48), ("day", 86400, 1000)):
        count = seconds / size
        if count < most:
            text = f"{count:.1f}" if unit in ("hour", "day") and count < 10 else f"{count:.0f}"
            return f"{text} {unit}" + ("" if text == "1" else "s")
    return f"{seconds / (365.25 * 86400):,.1f} years"


def hopeless_sentence(estimate: TimeEstimate, runtime: Runtime, instead: TimeEstimate | None = None) -> str:
    """Return the sentence for a run that is hopeless, with remedies.

    Args:
        instead: the time of the small preset on this machine, if it was measured.
    """
    small = f"--config {SMALL_PRESET}"
    small += f": {in_words(instead.seconds)} here" if instead else ", made for a CPU"
    return (
        f"Hopeless as it is: {_in_months(estimate.seconds)} on {runtime.world_size} x {runtime.device_name}. "
        f"Try {small}. "
        "Or take fewer tokens (--max_steps), a smaller model (--model.n_layer, --model.n_embd) or more devices: "
        f"{hints.command('plan', '--on', 'a100')} with the same settings says what a rented one would cost."
    )


def _in_months(seconds: float) -> str:
    months = seconds / (365.25 / 12 * 86400)
    return in_words(seconds) + (f" (about {months:,.0f} months)" if 2 <= months < 1200 else "")


def repeats_sentence(epochs: Mapping[str, float], max_steps: int) -> str:
    """Return the sentence for corpora that a run reads too often; empty if there are none.

    Source: Muennighoff et al. 2023, "Scaling Data-Constrained Language Models": up to 4 passes are
    worth about as much as new text, and after 16 little is gained.
    """
    often = {name: count for name, count in epochs.items() if count > MOST_EPOCHS}
    if not often:
        return ""
    listed = ", ".join(f"{name} {count:,.0f} times" for name, count in often.items())
    steps = max(1, int(max_steps * MOST_EPOCHS / max(often.values())))
    return (
        f"The run would read {listed}. A model gains little after {MOST_EPOCHS} passes and then learns the text by "
        f"heart: take more text, a smaller share of it (--weights.NAME), or --max_steps {steps}."
    )
