"""One model on many processes, by torch's own means: DDP where it fits each device, FSDP2 where it does not.

Either way a step sees the same samples and gives the mean gradient over all, so the loss does not depend on how many
processes there are. Source: torch.nn.parallel.DistributedDataParallel and torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, cast

import torch
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel

from gpt_research.base.runtime import Runtime
from gpt_research.config import GPTConfig
from gpt_research.model.gpt import GPT

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

Parallel = Literal["none", "ddp", "fsdp"]

STATE_BYTES = 16
"""Of a parameter in training: weight, gradient and AdamW's two moments, in fp32."""
LARGEST_STATE = 0.5
"""Share of a device's memory that this state may take; the rest is for activations."""


def choose(parallel: str, model: GPTConfig, runtime: Runtime) -> Parallel:
    """Return how to train on this many processes: `auto` shards only a model that would fill half of a device."""
    if runtime.world_size == 1:
        return "none"
    if parallel != "auto":
        return cast(Parallel, parallel)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in GPT(model).parameters())
    memory = runtime.device_memory()
    return "fsdp" if memory and parameters * STATE_BYTES > LARGEST_STATE * memory else "ddp"


def distribute(model: GPT, runtime: Runtime, parallel: Parallel, *, compiled: bool) -> tuple[nn.Module, nn.Module]:
    """Place a model on this process's device, alone or together with the others.

    Returns:
        What to evaluate with and what to train with, which exchanges gradients as well.
    """
    on_cpu = runtime.device.type == "cpu"
    if parallel == "none" and not (compiled and on_cpu):
        model.to(runtime.device)
        forward = cast(nn.Module, torch.compile(model)) if compiled else model
        return forward, forward
    if compiled:
        # Block by block: one block's gradients travel while the next ones are computed, and all blocks share one
        # compilation. On a CPU the loss is faster as it is.
        for block in model.blocks:
            block.compile()
        if not on_cpu:
            model.loss = torch.compile(model.loss)  # type: ignore[method-assign]
    if parallel == "none":
        return model, model
    if parallel == "fsdp":
        _shard(model, runtime)
        return model, model
    model.to(runtime.device)
    devices = [runtime.device.index] if runtime.device.type == "cuda" else None
    return model, DistributedDataParallel(
        model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def _shard(model: GPT, runtime: Runtime) -> None:
    """Let each process hold its rows of every tensor; a block's weights are gathered when it runs."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(runtime.device.type, (runtime.world_size,))
    # Weights travel in the type they are multiplied in, gradients in fp32; the residual stream stays as it is.
    policy = MixedPrecisionPolicy(
        param_dtype=None if runtime.precision == "fp32" else runtime.dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for name, buffer in model.named_buffers():  # fully_shard moves parameters only
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, buffer.to(runtime.device))


def reshard(model: GPT) -> None:
    """Let go of the weights that an evaluation gathered: FSDP keeps the outermost ones for a backward pass."""
    for module in (model, *model.blocks):
        if hasattr(module, "reshard"):  # an FSDPModule
            cast("FSDPModule", module).reshard()


def gradients_stay_local(compute: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Let DDP add up gradients without exchanging them, for all micro-batches of a step but the last.

    FSDP exchanges every time: to wait would take the memory of the whole gradient, for want of which it was chosen.
    """
    if isinstance(compute, DistributedDataParallel):
        return compute.no_sync()
    return contextlib.nullcontext()
