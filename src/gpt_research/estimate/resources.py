"""What a run takes by formula, from its settings alone: parameters, arithmetic, memory, tokens, disk.

The parts of the model state what they take; this module adds it up. `probe` measures real steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig
from gpt_research.model.fast.loss import workspace_bytes
from gpt_research.model.gpt import GPT
from gpt_research.training.assembly import WEIGHT_BYTES, plan_execution, training_state_bytes
from gpt_research.training.optimizers import state_bytes


@dataclass(frozen=True)
class ResourceEstimate:
    """What a run takes on each device and on the disk."""

    parameters: int
    """Number of parameters, without the padding of the vocabulary."""
    flops_per_token: float
    """FLOPs of training on one token, forward and backward."""
    tokens: int
    """Tokens that the whole run reads; a repeated token counts again."""
    state_bytes: int
    """Weights, gradients and optimizer on each device."""
    activation_bytes: int
    """What the forward pass of a micro-batch keeps for the backward pass."""
    work_bytes: int
    """Copies of the weights in 16 bits, and the workspace of the loss."""
    checkpoint_bytes: int
    """Size of one checkpoint."""
    disk_bytes: int
    """Size of all checkpoints that are kept, and of the one that is being written beside them."""

    @property
    def memory_bytes(self) -> int:
        """The most that tensors take on each device, without torch itself."""
        return self.state_bytes + self.activation_bytes + self.work_bytes


def estimate_resources(config: TrainConfig, runtime: Runtime) -> ResourceEstimate:
    """Return what `config`, whose micro_batch is a number, takes on the devices of `runtime`."""
    with torch.device("meta"):  # shapes only, so a model of any size is counted at once
        model = GPT(config.model)
    held = sum(p.numel() for p in model.parameters())
    parameters = model.num_parameters()
    plan = plan_execution(config, runtime)
    chunk = plan.loss_chunk
    model.gradient_checkpointing, model.loss_chunk = config.gradient_checkpointing, chunk
    token_bytes = model.activation_bytes(runtime.device.type, runtime.dtype)
    checkpoint_bytes = parameters * (WEIGHT_BYTES + state_bytes(config))
    return ResourceEstimate(
        parameters=parameters,
        flops_per_token=model.flops_per_token(),
        tokens=config.max_steps * config.tokens_per_step,
        state_bytes=held * training_state_bytes(config) // (runtime.world_size if plan.parallel == "fsdp" else 1),
        activation_bytes=config.micro_batch * config.model.block_size * token_bytes,
        work_bytes=_work_bytes(config, runtime, held, chunk),
        checkpoint_bytes=checkpoint_bytes,
        disk_bytes=checkpoint_bytes * _checkpoints_that_stay(config),
    )


def _work_bytes(config: TrainConfig, runtime: Runtime, held: int, chunk: int) -> int:
    """Return the bytes for autocast's copies of the weights and the loss, whatever the micro-batch."""
    copies = 0 if runtime.precision == "fp32" else 2 * held
    if not chunk:
        return copies
    model = config.model
    return copies + workspace_bytes(chunk, model.padded_vocab_size, model.n_embd, runtime.device.type, runtime.dtype)


def _checkpoints_that_stay(config: TrainConfig) -> int:
    """Count the checkpoints on the disk while the last one is written beside all that are kept."""
    interval = config.save_interval or config.max_steps
    saved = -(-config.max_steps // interval)
    milestones = 0
    if config.keep_every:
        older = [step for step in range(interval, config.max_steps, interval) if step % config.keep_every == 0]
        milestones = max(0, len(older) - config.keep_last)
    return min(saved, config.keep_last + 1) + milestones
