"""Parameters, FLOPs, memory, tokens and disk of a run, by formula, from its settings alone.

The parts of the model state their FLOPs and bytes, and this module adds them up. `probe` measures
real steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig
from gpt_research.model.fast.loss import workspace_bytes
from gpt_research.model.gpt import GPT
from gpt_research.training.assembly import (
    GRADIENT_BYTES,
    WEIGHT_BYTES,
    plan_execution,
    training_state_bytes,
)
from gpt_research.training.execution import ExecutionPlan
from gpt_research.training.schedules import learning_rates


@dataclass(frozen=True)
class ResourceEstimate:
    """The resources of a run, on each device and on the disk."""

    parameters: int
    """Number of parameters, without the padding of the vocabulary."""
    flops_per_token: float
    """FLOPs of training on one token, forward and backward."""
    tokens: int
    """Tokens that the whole run reads; a repeated token counts again."""
    state_bytes: int
    """Weights, gradients and optimizer on each device."""
    activation_bytes: int
    """Tensors that the forward pass of a micro-batch keeps for the backward pass."""
    work_bytes: int
    """What is held besides: copies of weights in 16 bits, whole weights and gradients of a sharded
    model, and the workspace of the loss."""
    checkpoint_bytes: int
    """Size of one checkpoint."""
    disk_bytes: int
    """Size of all checkpoints that are kept, and of the one that is being written beside them."""

    @property
    def memory_bytes(self) -> int:
        """Largest size of all tensors on each device, without torch itself."""
        return self.state_bytes + self.activation_bytes + self.work_bytes


def estimate_resources(config: TrainConfig, runtime: Runtime) -> ResourceEstimate:
    """Return the resources of `config` on the devices of `runtime`; its micro_batch must be a
    number.
    """
    with torch.device("meta"):  # shapes only, so a model of any size is counted at once
        model = GPT(config.model)
    held = sum(p.numel() for p in model.parameters())
    parameters = model.num_parameters()
    plan = plan_execution(config, runtime)
    chunk = plan.loss_chunk
    model.gradient_checkpointing, model.loss_chunk = config.gradient_checkpointing, chunk
    model.residual_dtype = plan.residual_dtype
    token_bytes = model.activation_bytes(runtime.device.type, runtime.dtype)
    saved = parameters * (training_state_bytes(config) - GRADIENT_BYTES)
    return ResourceEstimate(
        parameters=parameters,
        flops_per_token=model.flops_per_token(),
        tokens=config.max_steps * config.tokens_per_step,
        state_bytes=held * training_state_bytes(config) // plan.shards,
        activation_bytes=plan.micro_batch * config.model.block_size * token_bytes,
        work_bytes=_whole_bytes(model, plan, runtime) + _workspace_bytes(config, runtime, chunk),
        checkpoint_bytes=saved,
        disk_bytes=_disk_bytes(config, saved, parameters * WEIGHT_BYTES * (2 if config.ema_decay else 1)),
    )


def _whole_bytes(model: GPT, plan: ExecutionPlan, runtime: Runtime) -> int:
    """Return the bytes of weights and gradients that are held besides the state."""
    parameters = sum(p.numel() for p in model.parameters())
    if plan.shards == 1:
        # Autocast keeps a copy of each weight in 16 bits.
        return 0 if runtime.precision == "fp32" else 2 * parameters
    # The embeddings are gathered for the whole pass, and the weights of a block while it runs and
    # those of the next one travel. A gradient is whole, and is copied to be sent, until its sum is
    # cut into shards.
    block = sum(p.numel() for p in model.blocks[0].parameters())
    outside = parameters - len(model.blocks) * block
    gathered = WEIGHT_BYTES * outside + runtime.dtype.itemsize * 2 * block
    sent = GRADIENT_BYTES * max(outside, block)
    deferred = plan.gradient_exchange == "step" and plan.micro_steps > 1
    return gathered + sent + (GRADIENT_BYTES * parameters if deferred else sent)


def _workspace_bytes(config: TrainConfig, runtime: Runtime, chunk: int) -> int:
    """Return the bytes of the workspace of a loss in chunks."""
    if not chunk:
        return 0
    model = config.model
    return workspace_bytes(chunk, model.padded_vocab_size, model.n_embd, runtime.device.type, runtime.dtype)


def _disk_bytes(config: TrainConfig, whole: int, weights: int) -> int:
    """Return the most bytes of checkpoints that are on the disk at once.

    Args:
        whole: bytes of one with the optimizer's state.
        weights: bytes of one without it.
    """
    # The last one is written before the oldest is removed, hence keep_last + 1.
    interval = config.save_interval or config.max_steps
    saved = -(-config.max_steps // interval)
    milestones = 0
    if config.keep_every:
        older = [step for step in range(interval, config.max_steps, interval) if step % config.keep_every == 0]
        milestones = max(0, len(older) - config.keep_last)
    before_decay = learning_rates(config).steps_before_decay > 0
    others = min(saved, config.keep_last + 1) + config.keep_best + before_decay
    return others * whole + milestones * (whole if config.keep_every_optimizer else weights)
