"""How a run is carried out on this machine. `assembly.plan_execution` decides it, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Parallel = Literal["none", "ddp", "fsdp", "hsdp"]
GradientExchange = Literal["pass", "step"]
Compilation = Literal["none", "blocks", "whole"]


@dataclass(frozen=True)
class ExecutionPlan:
    """Everything about a run's steps that depends on the machine and on the number of processes.

    The step, the probe and the estimate of memory take the plan, and decide nothing again.
    """

    parallel: Parallel
    """How the model is spread over the processes; `none` for one process."""
    shards: int
    """Processes over which one copy of the model is spread; 1 if each holds a whole one."""
    compiled: Compilation
    """What torch.compile gets: nothing, each block and the loss, or the whole model at once."""
    micro_batch: int
    """Sequences of one forward and backward pass on one device."""
    micro_steps: int
    """Passes of one device in one optimizer step."""
    loss_chunk: int
    """Tokens whose logits are held at a time; 0 holds those of the whole micro-batch."""
    tokens_per_step: int
    """Tokens of one optimizer step over all devices."""
    gradient_checkpointing: bool = False
    """Recompute the activations of each block in the backward pass."""
    gradient_exchange: GradientExchange = "pass"
    """How often a sharded model exchanges gradients within a copy."""
    residual_dtype: torch.dtype | None = None
    """Type to which the residual stream is rounded; None leaves it in fp32."""
    compiled_because: str = ""
    """Why so much is compiled, in a few words for the user."""
