"""How long a run will take at the speed it was seen to have, what it costs, and whether it is hopeless."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import gpt_research
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import read_yaml
from gpt_research.config import TrainConfig
from gpt_research.estimate.footprint import footprint
from gpt_research.estimate.probe import fitting_micro_batches, probe

HOPELESS_S = 14 * 86400.0
"""A run that takes longer than two weeks is called hopeless."""
SMALL_CONFIG = Path("configs/tiny-cpu.yaml")
"""What to try instead, from the root of the repository."""


@dataclass(frozen=True)
class Outlook:
    """What a run still takes at a given speed."""

    tokens_per_s: float
    mfu: float
    seconds: float
    """Steps and evaluations, without writing samples and checkpoints."""

    @property
    def hopeless(self) -> bool:
        return self.seconds > HOPELESS_S

    @property
    def ends_at(self) -> str:
        """Date and time of the end, were it to begin now; without the time where it is weeks away."""
        if self.seconds > 1000 * 365 * 86400:
            return "in thousands of years"
        end = datetime.datetime.now() + datetime.timedelta(seconds=self.seconds)
        return f"{end:%Y-%m-%d}" if self.hopeless else f"{end:%Y-%m-%d %H:%M}"


def outlook(
    config: TrainConfig,
    tokens_per_s: float,
    flops_per_token: float,
    peak_flops: float,
    *,
    done: int = 0,
    corpora: int = 1,
) -> Outlook:
    """Reckon what is left after `done` steps.

    Args:
        tokens_per_s: over all processes.
        peak_flops: FLOP/s of all devices together, the base of MFU.
        corpora: how many are evaluated, each on eval_tokens. A token takes a third of a trained one: forward only.
    """
    steps = config.max_steps - done
    evaluations = max(1, steps // config.eval_interval) if config.eval_interval else 1
    tokens = steps * config.tokens_per_step + evaluations * corpora * config.eval_tokens / 3
    return Outlook(tokens_per_s, tokens_per_s * flops_per_token / peak_flops, tokens / tokens_per_s)


def in_words(seconds: float) -> str:
    """Say a time as one would: 40 seconds, 6 minutes, 3.2 hours, 87 days, 4.1 years."""
    for unit, size, most in (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 48), ("day", 86400, 1000)):
        count = seconds / size
        if count < most:
            text = f"{count:.1f}" if unit in ("hour", "day") and count < 10 else f"{count:.0f}"
            return f"{text} {unit}" + ("" if text == "1" else "s")
    return f"{seconds / (365.25 * 86400):,.1f} years"


def hopeless_sentence(found: Outlook, runtime: Runtime, config: TrainConfig) -> str:
    """Say that a run is hopeless, and name one that ends in minutes, its time measured here in a few seconds."""
    instead = small_run(runtime, config)
    return (
        f"Hopeless as it is: {in_words(found.seconds)} on {runtime.world_size} x {runtime.device_name}. "
        + (f"Try {SMALL_CONFIG}: {in_words(instead.seconds)} here. " if instead else "")
        + "Or take fewer tokens (--max_steps), a smaller model (--model.n_layer, --model.n_embd) or more devices."
    )


def small_run(runtime: Runtime, config: TrainConfig, seconds: float = 3.0) -> Outlook | None:
    """Measure what `SMALL_CONFIG` takes on one device here with the vocabulary of `config`, if it can be."""
    path = Path(gpt_research.__file__).parents[2] / SMALL_CONFIG
    with contextlib.suppress(Exception):  # a remark only: a run must not fail for it
        small = read_yaml(TrainConfig, path)
        small = dataclasses.replace(
            small,
            model=dataclasses.replace(small.model, vocab_size=config.model.vocab_size),
            precision=runtime.precision,
        )
        alone = dataclasses.replace(runtime, rank=0, world_size=1)
        number = small.micro_batch if small.micro_batch != "auto" else fitting_micro_batches(small, 1)[-1]
        found = probe(small, alone, [number], seconds).found[0]
        return outlook(small, found.tokens_per_s, 1.0, 1.0)
    return None


class FirstSteps:
    """Watches the first passes of a run and, once, says what to expect of the rest."""

    def __init__(self, config: TrainConfig, runtime: Runtime, done: int, corpora: int) -> None:
        self.config, self.runtime, self.done, self.corpora = config, runtime, done, corpora
        self.passes = 0
        self.began = 0.0
        self.told = False

    def begin_pass(self, peak_flops: float, tell: Callable[[str], None]) -> None:
        """Call before each micro-batch."""
        if self.told or not self.runtime.is_main:
            return
        self.passes += 1
        if self.passes <= WARM_UP:
            if self.passes == WARM_UP:
                self.runtime.synchronize()
                self.began = time.perf_counter()
            return
        if time.perf_counter() - self.began >= WATCH_S:
            self.told = True
            # what is reckoned and measured here must not touch the draws of the step that goes on
            with torch.random.fork_rng([self.runtime.device] if self.runtime.device.type == "cuda" else []):
                self._tell(peak_flops, tell)

    def _tell(self, peak_flops: float, tell: Callable[[str], None]) -> None:
        config, runtime = self.config, self.runtime
        runtime.synchronize()  # the host is ahead of a GPU; once in a run it may wait
        tokens = (self.passes - WARM_UP) * config.micro_batch * config.model.block_size * runtime.world_size
        speed = tokens / (time.perf_counter() - self.began)
        size = footprint(config, runtime)
        peak = peak_flops * runtime.world_size
        found = outlook(config, speed, size.flops_per_token, peak, done=self.done, corpora=self.corpora)
        if found.seconds > WORTH_A_WORD_S:
            tell(
                f"Estimate: {speed:,.0f} tokens/s, MFU {found.mfu:.0%}: {in_words(found.seconds)} to go, until "
                f"{found.ends_at}; checkpoints take {size.disk_bytes / 1e9:,.1f} GB"
            )
        if found.hopeless:
            tell(hopeless_sentence(found, runtime, config))

    def pause(self, seconds: float) -> None:
        """Leave out time that no step took."""
        self.began += seconds


WARM_UP = 3
"""Passes that are not counted: they compile, allocate and fill caches."""
WATCH_S = 10.0
"""Time over which the speed is taken."""
WORTH_A_WORD_S = 120.0
"""Shorter runs show soon enough how long they take."""
