"""What a run takes, from its settings alone: parameters, arithmetic, memory, tokens, disk.

These are formulas; what this machine makes of them is measured by `probe`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gpt_research.base.runtime import Runtime
from gpt_research.config import TrainConfig
from gpt_research.model import GPT
from gpt_research.model.fast import attention
from gpt_research.training.assembly import plan_execution, training_state_bytes

CHECKPOINT_BYTES = 12
"""Of a parameter in a checkpoint: weight and AdamW's two moments, in fp32."""


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
    saves = _checkpoints_that_stay(config)
    return Footprint(
        parameters=parameters,
        flops_per_token=model.flops_per_token(),
        tokens=config.max_steps * config.tokens_per_step,
        state_bytes=held * training_state_bytes(config) // (runtime.world_size if plan.parallel == "fsdp" else 1),
        activation_bytes=config.micro_batch * config.model.block_size * _token_bytes(config, runtime, whole=not chunk),
        work_bytes=_work_bytes(config, runtime, held, chunk),
        checkpoint_bytes=parameters * CHECKPOINT_BYTES,
        disk_bytes=parameters * CHECKPOINT_BYTES * saves,
    )


LOGIT_COPIES = 3
"""fp32 copies of the logits at the worst moment, in the loss's backward pass: log-probabilities and two gradients."""


def _token_bytes(config: TrainConfig, runtime: Runtime, *, whole: bool) -> int:
    """Bytes that are kept of one token until its backward pass; `whole` where its logits are too.

    Korthikanti et al. 2022, "Reducing Activation Recomputation", section 4.1, counts s b h (34 + 5 a s / h) bytes a
    layer in 16 bits: inputs of norms 4, of the attention and its matrices 10, of the MLP 18, dropout masks 2, and
    attention weights 5 a s / h, which fused attention does not keep. fp32 doubles the first three; under autocast
    the residual stream stays fp32, so the norms' inputs take 8. A layer that is computed again keeps its input only.
    """
    model = config.model
    a = 4 if runtime.precision == "fp32" else 2
    layer = (8 + 14 * a) * model.n_embd
    if model.dropout:
        layer += 2 * model.n_embd
        if runtime.device.type == "cpu":  # torch has no fused attention with dropout there: weights, mask, product
            layer += (2 * a + 1) * model.n_head * model.block_size
    elif attention.keeps_weights(runtime.device.type, runtime.dtype, model.block_size):  # of what is seen only
        layer += a * model.n_head * (model.block_size + attention.BLOCK) // 2
    kept = model.n_layer * 4 * model.n_embd + layer if config.gradient_checkpointing else model.n_layer * layer
    ends = (4 + 4 + a) * model.n_embd  # embedding, final norm and its output
    return kept + ends + (LOGIT_COPIES * 4 * model.padded_vocab_size if whole else 0)


def _work_bytes(config: TrainConfig, runtime: Runtime, held: int, chunk: int) -> int:
    """Bytes that do not grow with the micro-batch: autocast's copies of the weights, and the workspace of the loss."""
    fixed, a = (0, 4) if runtime.precision == "fp32" else (2 * held, 2)
    if (
        chunk
    ):  # its logits, and the head's gradient before and after it is scaled; a CPU makes fp32 of a few rows at a time
        logit = a if runtime.device.type == "cpu" else LOGIT_COPIES * 4
        fixed += config.model.padded_vocab_size * (logit * chunk + 8 * config.model.n_embd)
    return fixed


def _checkpoints_that_stay(config: TrainConfig) -> int:
    """Count the checkpoints on the disk at the worst moment: while the last one is written beside all that stay."""
    interval = config.save_interval or config.max_steps
    saved = -(-config.max_steps // interval)
    milestones = 0
    if config.keep_every:
        older = [step for step in range(interval, config.max_steps, interval) if step % config.keep_every == 0]
        milestones = max(0, len(older) - config.keep_last)
    return min(saved, config.keep_last + 1) + milestones
