"""Says how long a run will take on a CPU before its first step, from one measured pass.

The first step of a large model takes minutes on a CPU, and nobody should have to wait for it to
learn that the run takes months.
"""

from __future__ import annotations

import contextlib
import time

import torch

from gpt_research.base.machine import free_memory
from gpt_research.estimate.time_estimate import TimeEstimate, estimate_time
from gpt_research.model.gpt import GPT
from gpt_research.training.assembly import GRADIENT_BYTES, WEIGHT_BYTES
from gpt_research.training.reporter import Beginning

LONG_S = 6 * 3600.0
"""A run that needs this long at the peak of the machine is looked at."""
TOKENS = 256
"""Tokens of the pass, at most; fewer than a training step has, so that it ends in seconds."""
LONG_PASS_S = 2.0
"""A pass that takes this long is not repeated, so that the answer comes within some seconds."""
SHARE_OF_MEMORY = 0.5
"""Share of the free memory that the pass may take."""


def first_look(run: Beginning) -> TimeEstimate | None:
    """Return the estimate from one pass; None on a GPU, for a short run, or if it cannot be
    measured.
    """
    config, runtime = run.config, run.runtime
    left = (config.max_steps - run.start_step) * config.tokens_per_step
    if runtime.device.type != "cpu" or left * run.flops_per_token / (run.peak_flops * runtime.world_size) < LONG_S:
        return None
    if run.parameters * (WEIGHT_BYTES + GRADIENT_BYTES) > SHARE_OF_MEMORY * free_memory():
        return None
    with contextlib.suppress(Exception):  # it is only a remark, so a failure must not end the run
        speed = _measure(run) * runtime.world_size
        peak = max(run.peak_flops * runtime.world_size, speed * run.flops_per_token)
        return estimate_time(config, speed, run.flops_per_token, peak, done=run.start_step, corpora=run.corpora)
    return None


def _measure(run: Beginning) -> float:
    """Return the tokens per second of one forward and backward pass of a model of the run's
    shape.
    """
    shape = run.config.model
    with torch.random.fork_rng([]):  # training draws its own numbers
        with torch.device("meta"):
            model = GPT(shape)
        # The numbers do not matter for the time, so no weight is drawn. Left as they are they could
        # be denormal, which is slow.
        model = model.to_empty(device="cpu")
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.zero_()
        model.loss_chunk, model.gradient_checkpointing = run.plan.loss_chunk, run.plan.gradient_checkpointing
        model.residual_dtype = run.plan.residual_dtype
        count = min(TOKENS, shape.block_size)
        tokens = torch.zeros(1, count, dtype=torch.long)
        took: list[float] = []
        # The first pass also takes memory from the system, so a second one is timed if that is
        # quick.
        while not took or (len(took) < 2 and took[0] < LONG_PASS_S):
            began = time.perf_counter()
            with run.runtime.autocast():
                loss = model(tokens, tokens)
            loss.backward()
            took.append(time.perf_counter() - began)
    return count / min(took)
