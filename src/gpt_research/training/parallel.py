"""One model on many processes: DDP if it fits each device, FSDP2 if it does not.

Either way a step reads the same samples and ends with the mean gradient over all processes, so the
loss does not depend on their number.
Source: torch.nn.parallel.DistributedDataParallel and torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel

from gpt_research.training.execution import ExecutionPlan

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

    from gpt_research.base.runtime import Runtime

_DDP_SETTINGS = inspect.signature(DistributedDataParallel).parameters
# torch 2.13 has another name for the setting, and warns of the old one on every process.
_NO_BROADCAST = "forward_sync_buffers" if "forward_sync_buffers" in _DDP_SETTINGS else "broadcast_buffers"


@dataclass(frozen=True)
class Placed:
    """A model on this process's device, alone or together with the other processes."""

    model: Any
    """The module that owns the parameters: a `GPT`."""
    for_evaluation: nn.Module
    """Runs the model, compiled if the plan says so."""
    for_training: nn.Module
    """The same, and its backward pass also averages the gradients over the processes."""


def place(model: Any, plan: ExecutionPlan, runtime: Runtime) -> Placed:
    """Move a model to this process's device, compile it, and wrap it in DDP or FSDP, by the
    plan.
    """
    on_cpu = runtime.device.type == "cpu"
    if plan.parallel == "none" and not (plan.compiled and on_cpu):
        model.to(runtime.device)
        compiled = cast(nn.Module, torch.compile(model)) if plan.compiled else model
        return Placed(model, compiled, compiled)
    if plan.compiled:
        # Blocks are compiled one by one. So the gradients of one block travel while the next block
        # is computed, and all blocks share one compilation. On a CPU the compiled loss is slower
        # than the plain one.
        for block in model.blocks:
            block.compile()
        if not on_cpu:
            model.loss = torch.compile(model.loss)
    if plan.parallel == "none":
        return Placed(model, model, model)
    if plan.parallel == "fsdp":
        _shard(model, runtime)
        return Placed(model, model, model)
    model.to(runtime.device)
    devices = [runtime.device.index] if runtime.device.type == "cuda" else None
    # The buffers of a model are constants here, so there is nothing to broadcast. Gradients that
    # are views of DDP's buckets need no copy of their own.
    settings: dict[str, Any] = {_NO_BROADCAST: False, "gradient_as_bucket_view": True}
    return Placed(model, model, DistributedDataParallel(model, device_ids=devices, **settings))


def _shard(model: Any, runtime: Runtime) -> None:
    """Shard every tensor by rows over the processes; a block's weights are gathered when it
    runs.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(runtime.device.type, (runtime.world_size,))
    # The model is to be the same as under DDP, where autocast rounds the weights of products to 16
    # bits, and embeddings and norms stay in fp32. So only the weights of products are gathered in
    # 16 bits, which halves the traffic of blocks. Gradients are summed in fp32.
    whole = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    rounded = dataclasses.replace(whole, param_dtype=None if runtime.precision == "fp32" else runtime.dtype)
    for block in model.blocks:
        if rounded != whole:
            fully_shard([block.norm_1, block.norm_2], mesh=mesh, mp_policy=whole)
        fully_shard(block, mesh=mesh, mp_policy=rounded)
    fully_shard(model, mesh=mesh, mp_policy=whole)
    for name, buffer in model.named_buffers():  # fully_shard moves parameters only
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, buffer.to(runtime.device))


def reshard(model: Any) -> None:
    """Free the weights that an evaluation gathered."""
    # FSDP keeps the outermost weights for a backward pass, and an evaluation has none.
    for module in (model, *model.blocks):
        if hasattr(module, "reshard"):  # an FSDPModule
            cast("FSDPModule", module).reshard()


def gradients_stay_local(for_training: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Return a context for all micro-batches but the last, in which DDP does not average
    gradients.
    """
    # FSDP reduces gradients on every micro-batch. Deferring would need the full gradient, and
    # saving that memory is why FSDP is used.
    if isinstance(for_training, DistributedDataParallel):
        return for_training.no_sync()
    return contextlib.nullcontext()
