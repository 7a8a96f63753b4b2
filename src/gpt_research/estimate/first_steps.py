"""Estimates the time of a run once, from the speed of its first passes.

`cli.terminal_reporter` prints the sentences; `gpt-research plan` estimates before a run instead.
"""

from __future__ import annotations

import time

import torch

from gpt_research.estimate.first_look import first_look
from gpt_research.estimate.resources import estimate_resources
from gpt_research.estimate.time_estimate import (
    TimeEstimate,
    estimate_time,
    hopeless_sentence,
    in_words,
    repeats_sentence,
)
from gpt_research.training.reporter import Beginning

WARM_UP = 3
"""Passes that are not timed, because they compile, allocate and fill caches."""
WATCH_S = 10.0
"""Seconds over which the speed is measured."""
WORTH_SAYING_S = 120.0
"""A shorter run shows soon enough how long it takes."""


class FirstSteps:
    """Times the first passes of a run, and returns the estimate when the speed is known."""

    def __init__(self, beginning: Beginning) -> None:
        self._run = beginning
        self._passes = 0
        self._began = 0.0
        self._done = False
        self._told = False

    def before_first(self) -> list[str]:
        """Return sentences for the user before the first step: text that is read too often, and a
        run that takes weeks on a CPU.
        """
        run = self._run
        sentences = [repeats_sentence(run.epochs, run.config.max_steps)]
        estimate = first_look(run)
        if estimate is not None and estimate.hopeless:
            self._told = True
            speed = f"A first pass: {estimate.tokens_per_s:,.0f} tokens/s, so the run would end {_when(estimate)}."
            sentences += [speed, hopeless_sentence(estimate, run.runtime)]
        return [sentence for sentence in sentences if sentence]

    def before_pass(self) -> list[str]:
        """Count a pass that begins; return sentences for the user when the speed is known, else
        none.
        """
        if self._done:
            return []
        self._passes += 1
        if self._passes <= WARM_UP:
            if self._passes == WARM_UP:
                self._run.runtime.synchronize()
                self._began = time.perf_counter()
            return []
        if time.perf_counter() - self._began < WATCH_S:
            return []
        self._done = True
        # The estimate builds a model on the meta device, which must not change the random numbers
        # of the step that goes on.
        device = self._run.runtime.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            return self._estimate()

    def paused(self, seconds: float) -> None:
        """Leave out seconds that an evaluation or a save took."""
        self._began += seconds

    def _estimate(self) -> list[str]:
        run, config, runtime = self._run, self._run.config, self._run.runtime
        runtime.synchronize()  # the host runs ahead of a GPU; it may wait once in a run
        tokens = (self._passes - WARM_UP) * run.plan.micro_batch * config.model.block_size * runtime.world_size
        speed = tokens / (time.perf_counter() - self._began)
        peak = run.peak_flops * runtime.world_size
        estimate = estimate_time(config, speed, run.flops_per_token, peak, done=run.start_step, corpora=run.corpora)
        sentences = []
        if estimate.seconds > WORTH_SAYING_S:
            disk = estimate_resources(config, runtime).disk_bytes / 1e9
            sentences.append(
                f"Estimate: {speed:,.0f} tokens/s, MFU {estimate.mfu:.0%}: {in_words(estimate.seconds)} to go, until "
                f"{estimate.ends_at}; checkpoints take {disk:,.1f} GB"
            )
        if estimate.hopeless and not self._told:
            sentences.append(hopeless_sentence(estimate, runtime))
        return sentences


def _when(estimate: TimeEstimate) -> str:
    return estimate.ends_at if estimate.ends_at.startswith("in ") else f"on {estimate.ends_at}"
