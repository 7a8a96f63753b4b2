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
from gpt_research.training.assembly import WEIGHT_BYTES, plan_execution, training_state_bytes
from gpt_research.training.optimizers import state_bytes


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
    """Copies of the weights in 16 bits, and the workspace of the loss."""
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
    """Return the bytes of the workspace that does not depend on the micro-batch."""
    # Autocast keeps a copy of each weight in 16 bits.
    copies = 0 if runtime.precision == "fp32" else 2 * held
    if not chunk:
        return copies
    model = config.model
    return copies + workspace_bytes(chunk, model.padded_vocab_size, model.n_embd, runtime.device.type, runtime.dtype)


def _checkpoints_that_stay(config: TrainConfig) -> int:
    """Return the most checkpoints that are on the disk at once."""
    # The last one is written before the oldest is removed, hence keep_last + 1.
    interval = config.save_interval or config.max_steps
    saved = -(-config.max_steps // interval)
    milestones = 0
    if config.keep_every:
        older = [step for step in range(interval, config.max_steps, interval) if step % config.keep_every == 0]
        milestones = max(0, len(older) - config.keep_last)
    return min(saved, config.keep_last + 1) + milestones + config.keep_best
