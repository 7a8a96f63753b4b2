"""Estimates the time of a run once, from the speed of its first passes.

`cli.terminal_reporter` prints the sentences; `gpt-research plan` estimates before a run instead.
"""

from __future__ import annotations

import time

import torch

from gpt_research.estimate.first_look import first_look
from gpt_research.estimate.resources import estimate_resources
from gpt_research.estimate.sizes import ROOM, fitting_micro_batches
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
SMALL_SHARE = 0.25
"""A run that uses less of its card's memory could take a larger micro-batch."""
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
        if said := about_the_card(run):
            sentences.append(said)
        if estimate.hopeless and not self._told:
            sentences.append(hopeless_sentence(estimate, runtime))
        return sentences


def about_the_card(run: Beginning) -> str:
    """Return the sentence for a run that uses a small part of its card's memory; empty for others.

    The largest micro-batch that fits follows from the peak so far: what does not belong to a
    sequence is known by formula.
    """
    config, runtime, size = run.config, run.runtime, run.plan.micro_batch
    if runtime.device.type != "cuda":
        return ""
    peak, memory = runtime.peak_memory(), runtime.device_memory()
    if peak > SMALL_SHARE * memory:
        return ""
    estimate = estimate_resources(config, runtime)
    # Of two figures that both leave something out, the larger one takes fewer sequences.
    sequence = max(peak - estimate.state_bytes - estimate.work_bytes, 0.5 * estimate.activation_bytes) / size
    room = ROOM * memory - (peak - size * sequence)
    fitting = [other for other in fitting_micro_batches(config, runtime.world_size) if other * sequence <= room]
    largest = max(fitting, default=size)
    if largest < 2 * size:
        return ""
    return (
        f"This run uses {peak / 1e9:.1f} of its card's {memory / 1e9:.0f} GB with micro_batch {size}. "
        f"--micro_batch auto tries up to {largest}, which is {largest / size:.0f} times as many sequences, and takes "
        "the fastest; what is learnt stays the same."
    )


def _when(estimate: TimeEstimate) -> str:
    return estimate.ends_at if estimate.ends_at.startswith("in ") else f"on {estimate.ends_at}"
