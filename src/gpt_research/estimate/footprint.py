"""What a run takes, from its settings alone: parameters, arithmetic, memory, tokens, disk.

These are formulas; what this machine makes of them is measured by `probe`.
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
class Footprint:
    """What a run takes on each device and on the disk."""

    parameters: int
    """Without the padding of the vocabulary."""
    flops_per_token: float
    """Of training, forward and backward."""
    tokens: int
    """Seen by the whole run, repeated ones counted again."""
    state_bytes: int
    """Weights, gradients and optimizer on each device."""
    activation_bytes: int
    """What the forward pass of a micro-batch keeps for the backward pass."""
    work_bytes: int
    """Copies of the weights in 16 bits, and the workspace of the loss."""
    checkpoint_bytes: int
    """One checkpoint."""
    disk_bytes: int
    """All checkpoints that stay, and the one that is being written beside them."""

    @property
    def memory_bytes(self) -> int:
        """What tensors take on each device at most, without torch itself."""
        return self.state_bytes + self.activation_bytes + self.work_bytes


def footprint(config: TrainConfig, runtime: Runtime) -> Footprint:
    """Work out what `config` takes on the devices of `runtime`; its micro_batch is a number."""
    with torch.device("meta"):  # shapes only, so a model of any size is counted at once
        model = GPT(config.model)
    held = sum(p.numel() for p in model.parameters())
    parameters = model.num_parameters()
    plan = plan_execution(config, runtime)
    chunk = plan.loss_chunk
    model.gradient_checkpointing, model.loss_chunk = config.gradient_checkpointing, chunk
    token_bytes = model.activation_bytes(runtime.device.type, runtime.dtype)
    checkpoint_bytes = parameters * (WEIGHT_BYTES + state_bytes(config))
    return Footprint(
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
    """Bytes that do not grow with the micro-batch: autocast's copies of the weights, and the workspace of the loss."""
    copies = 0 if runtime.precision == "fp32" else 2 * held
    if not chunk:
        return copies
    model = config.model
    return copies + workspace_bytes(chunk, model.padded_vocab_size, model.n_embd, runtime.device.type, runtime.dtype)


def _checkpoints_that_stay(config: TrainConfig) -> int:
    """Count the checkpoints on the disk at the worst moment: while the last one is written beside all that stay."""
    interval = config.save_interval or config.max_steps
    saved = -(-config.max_steps // interval)
    milestones = 0
    if config.keep_every:
        older = [step for step in range(interval, config.max_steps, interval) if step % config.keep_every == 0]
        milestones = max(0, len(older) - config.keep_last)
    return min(saved, config.keep_last + 1) + milestones
