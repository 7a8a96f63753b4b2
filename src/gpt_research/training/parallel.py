"""One model on many processes: DDP if it fits each device, FSDP2 if it does not, and HSDP if it
fits the devices of a node: FSDP2 within each node, with a copy of the model on each.

Whatever the way, a step reads the same samples and ends with the mean gradient over all processes,
so the loss does not depend on their number.
Source: torch.nn.parallel.DistributedDataParallel and torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel

from gpt_research.base import machine
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


def place(model: Any, plan: ExecutionPlan, runtime: Runtime, seed: int) -> Placed:
    """Draw a model's weights on this process's device, compile it, and wrap it in DDP or FSDP, by
    the plan.

    Args:
        model: its matrices are shapes (`drawn=False`), so that no process ever holds more of them
            than its share and what is being drawn.
    """
    on_cpu = runtime.device.type == "cpu"
    if plan.shards == 1:
        model.initialise(seed, device=runtime.device)
        model.to(runtime.device)
    if plan.parallel == "none" and plan.compiled != "blocks":
        compiled = cast(nn.Module, torch.compile(model)) if plan.compiled == "whole" else model
        return Placed(model, compiled, compiled)
    if plan.compiled == "blocks":
        # Blocks are compiled one by one. So the gradients of one block travel while the next block
        # is computed, and all blocks share one compilation. On a CPU the compiled loss is slower
        # than the plain one.
        for block in model.blocks:
            block.compile()
        if not on_cpu:
            model.loss = torch.compile(model.loss)
    if plan.shards > 1:
        _shard(model, plan, runtime, seed)
    if plan.parallel != "ddp":
        return Placed(model, model, model)
    devices = [runtime.device.index] if runtime.device.type == "cuda" else None
    # The buffers of a model are constants here, so there is nothing to broadcast. Gradients that
    # are views of DDP's buckets need no copy of their own.
    settings: dict[str, Any] = {_NO_BROADCAST: False, "gradient_as_bucket_view": True}
    return Placed(model, model, DistributedDataParallel(model, device_ids=devices, **settings))


def _shard(model: Any, plan: ExecutionPlan, runtime: Runtime, seed: int) -> None:
    """Draw the weights part by part, and shard every tensor by rows over the processes of a copy; a
    block's weights are gathered when it runs.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # If a mesh has two dimensions, fully_shard copies the model along the first.
    dimensions = {"shard": plan.shards}
    if plan.parallel == "hsdp":
        dimensions = {"node": runtime.world_size // plan.shards} | dimensions
    mesh = init_device_mesh(runtime.device.type, tuple(dimensions.values()), mesh_dim_names=tuple(dimensions))
    # The model is to be the same as under DDP, where autocast rounds the weights of products to 16
    # bits, and embeddings and norms stay in fp32. So only the weights of products are gathered in
    # 16 bits, which halves the traffic of blocks. Gradients are summed in fp32.
    whole = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    rounded = dataclasses.replace(whole, param_dtype=None if runtime.precision == "fp32" else runtime.dtype)
    machine.return_freed_memory()
    for index, block in enumerate(model.blocks):
        model.initialise(seed, f"blocks.{index}", runtime.device)
        if rounded != whole:
            norms = [part for part in block.modules() if part._parameters and not isinstance(part, nn.Linear)]
            fully_shard(norms, mesh=mesh, mp_policy=whole)
        fully_shard(block, mesh=mesh, mp_policy=rounded)
    model.initialise(seed, device=runtime.device)
    fully_shard(model, mesh=mesh, mp_policy=whole)
    for name, buffer in model.named_buffers():  # fully_shard moves parameters only
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, buffer.to(runtime.device))


def uncompiled(plan: ExecutionPlan) -> contextlib.AbstractContextManager[object]:
    """Return a context in which the model runs as it is written.

    A text has shapes that steps do not have. Compiling for them would make the other ranks wait.
    """
    if plan.compiled == "none":
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def reshard(model: Any) -> None:
    """Free the weights that an evaluation gathered."""
    # FSDP keeps the outermost weights for a backward pass, and an evaluation has none.
    for module in (model, *model.blocks):
        if hasattr(module, "reshard"):  # an FSDPModule
            cast("FSDPModule", module).reshard()


@contextlib.contextmanager
def gradients_stay_local(for_training: nn.Module, plan: ExecutionPlan) -> Iterator[None]:
    """Inside, which is all micro-batches but the last, DDP does not average gradients, FSDP does as
    the plan says, and HSDP averages them within a node at most.
    """
    if isinstance(for_training, DistributedDataParallel):
        with for_training.no_sync():
            yield
    elif plan.shards > 1:
        sharded = cast("FSDPModule", for_training)
        # Between nodes, deferring costs nothing, because sums of the shards wait in their place.
        # Within a node it takes the memory of a whole gradient, so the user chooses.
        once = plan.gradient_exchange == "step"
        set_exchange = sharded.set_requires_gradient_sync if once else sharded.set_requires_all_reduce
        set_exchange(False)
        try:
            yield
        finally:
            set_exchange(True)
    else:
        yield
