"""Builds a training step from settings: the execution plan first, then the parts.

    settings + runtime -> ExecutionPlan -> model -> DDP or FSDP -> optimizer, schedule -> TrainStep

`plan_execution` makes every decision that depends on the machine: parallelism, compilation, passes
of a step, and the chunk of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch

from gpt_research.base import machine
from gpt_research.base.errors import UserError
from gpt_research.base.peak_flops import stated_flops
from gpt_research.base.runtime import Runtime
from gpt_research.config import USUAL_MICRO_BATCH, TrainConfig
from gpt_research.model.fast.loss import LOGIT_COPIES
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.compilation import Work, choose_compilation
from gpt_research.training.ema import averaged_weights
from gpt_research.training.execution import ExecutionPlan, Parallel
from gpt_research.training.optimizers import make_optimizer, state_bytes
from gpt_research.training.out_of_memory import REMEDY_OF_BUILDING
from gpt_research.training.parallel import place
from gpt_research.training.schedules import learning_rates
from gpt_research.training.step import Batches, TrainStep

WEIGHT_BYTES = GRADIENT_BYTES = 4
"""Of a parameter in training; both are fp32."""
LARGEST_STATE = 0.5
"""Share of a device's memory that weights, gradients and optimizer may take; activations need the
rest."""
CACHED_LOGITS = 8 << 20
"""Bytes of fp32 logits to hold at a time on a CPU; more would not fit its caches."""
SURELY_FREE = 1 / 8
"""Share of the free memory that weights and gradients may take without a look at the rest."""
LOGITS_SHARE = 1 / 8
"""Share of a GPU's memory that logits and what is made of them may take."""
LEAST_CHUNK = 512
"""Tokens of a chunk at least, because the products of smaller chunks are slow."""


def plan_execution(config: TrainConfig, runtime: Runtime) -> ExecutionPlan:
    """Decide how the steps of `config` are carried out on the processes of `runtime`.

    Raises:
        UserError: a step does not divide evenly over the devices, `compile` is asked for and cannot
            work, or `hsdp` and the nodes are not alike.
    """
    with torch.device("meta"):  # shapes only, so a model of any size is counted at once
        shape = GPT(config.model)
    parallel = _parallel(config, runtime, sum(p.numel() for p in shape.parameters()))
    shards = {"fsdp": runtime.world_size, "hsdp": runtime.node_size}
    micro_batch = config.micro_batch or USUAL_MICRO_BATCH
    micro_steps = config.accumulation_steps(runtime.world_size)
    flops = shape.flops_per_token() * micro_batch * config.model.block_size
    work = Work(flops, config.model.n_layer, config.max_steps * micro_steps, stated_flops(runtime))
    compiled, because = choose_compilation(config.compile, work, runtime, parallel, deterministic=config.deterministic)
    return ExecutionPlan(
        parallel=parallel,
        shards=shards.get(parallel, 1),
        compiled=compiled,
        micro_batch=micro_batch,
        micro_steps=micro_steps,
        loss_chunk=_loss_chunk(config.loss_chunk, micro_batch, config.model, compiled != "none", runtime),
        tokens_per_step=config.tokens_per_step,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_exchange=config.gradient_exchange,
        residual_dtype=_residual_dtype(config.residual_precision, runtime),
        compiled_because=because,
    )


def undrawn(config: GPTConfig) -> GPT:
    """Return a language model whose matrices are shapes."""
    return GPT(config, drawn=False)


Step = TypeVar("Step", bound=TrainStep)


def build_step(
    config: TrainConfig,
    plan: ExecutionPlan,
    runtime: Runtime,
    batches: Batches,
    kind: type[Step],
    new_model: Callable[[GPTConfig], GPT] = undrawn,
) -> Step:
    """Return the step of `config`, with a new model on this process's device.

    Args:
        kind: `TrainStep` or a subclass; the probe has one that times its passes.
        new_model: from a shape to a model whose matrices are shapes.

    Raises:
        UserError: no optimizer, schedule or part of the model has the name that a setting gives, or
            the model and what its training holds do not fit the memory.
    """
    learning_rate = learning_rates(config)
    model = new_model(config.model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    _require_memory_for_state(parameters, plan.shards, lambda: training_state_bytes(config), runtime)
    model.gradient_checkpointing, model.loss_chunk = plan.gradient_checkpointing, plan.loss_chunk
    model.residual_dtype = plan.residual_dtype
    placed = place(model, plan, runtime, config.seed)
    if runtime.device.type == "cpu":
        machine.keep_freed_memory()  # only now, because what the draw took is not needed again
    # The optimizer comes after `place`, because FSDP replaces the parameters by shards of them.
    optimizer = make_optimizer(model, config)
    average = averaged_weights(model, optimizer, config.ema_decay, runtime.device)
    parts = placed, optimizer, learning_rate, batches, plan, runtime
    return kind(*parts, seed=config.seed, grad_clip=config.grad_clip, average=average)


def training_state_bytes(config: TrainConfig) -> int:
    """Return the bytes of weight, gradient, average and optimizer state for one parameter."""
    average = WEIGHT_BYTES if config.ema_decay else 0
    return WEIGHT_BYTES + GRADIENT_BYTES + average + state_bytes(config)


def _require_memory_for_state(parameters: int, shards: int, bytes_each: Callable[[], int], runtime: Runtime) -> None:
    """Refuse a model whose weights, gradients and optimizer state do not fit the free memory.

    Args:
        bytes_each: returns the bytes of one parameter. It is asked only of a model that fills a
            part of the memory, because the answer takes a step of the optimizer.
    """
    free, held = runtime.free_memory(), parameters // shards
    if held * (WEIGHT_BYTES + GRADIENT_BYTES) < SURELY_FREE * free:
        return
    each = bytes_each()
    shared = f", shared by {shards} processes," if shards > 1 else ""
    machine.require_memory(
        held * each,
        free,
        f"Training {parameters:,} parameters with {each} bytes each (weight, gradient, optimizer state){shared}",
        REMEDY_OF_BUILDING,
    )


def _parallel(config: TrainConfig, runtime: Runtime, parameters: int) -> Parallel:
    """Choose how a model is spread; `auto` shards only one whose state would fill half of a device,
    and then over one node if that is enough.
    """
    if runtime.world_size == 1:
        return "none"
    if config.parallel == "hsdp":
        return _within_nodes(runtime)
    if config.parallel != "auto":
        return cast(Parallel, config.parallel)
    memory, state = LARGEST_STATE * runtime.device_memory(), parameters * training_state_bytes(config)
    if not memory or state <= memory:
        return "ddp"
    # Within a node, cards exchange weights many times as fast as nodes do.
    fits_a_node = runtime.node_size and state / runtime.node_size <= memory
    return _within_nodes(runtime) if fits_a_node else "fsdp"


def _within_nodes(runtime: Runtime) -> Parallel:
    """Return `hsdp`, or what it comes down to if there is one node, or one process on each."""
    if not runtime.node_size:
        raise UserError(
            "parallel is hsdp, but the nodes run unequal numbers of processes, or their ranks do not follow on each "
            "other. Start the same number on each node (with srun also --distribution=block), or take --parallel fsdp."
        )
    if runtime.node_size == 1:
        return "ddp"
    return "fsdp" if runtime.node_size == runtime.world_size else "hsdp"


def _residual_dtype(asked_for: str, runtime: Runtime) -> torch.dtype | None:
    if asked_for == "fp32":
        return None
    # fp16 ends at 65,504, which the sum over all blocks may pass; in fp32 there is nothing to gain.
    if runtime.precision != "bf16":
        raise UserError(f"residual_precision is bf16, but precision is {runtime.precision}. Leave it out.")
    return torch.bfloat16


def _loss_chunk(asked_for: int | None, micro_batch: int, model: GPTConfig, compiled: bool, runtime: Runtime) -> int:
    """Return how many tokens' logits to hold at a time; 0 for all of a micro-batch."""
    # The chunked loss computes a chunk's gradient together with its value, before the scale that
    # fp16 needs is multiplied in, so small gradients would be rounded to 0. fp16 takes all logits
    # at once.
    if asked_for is not None or runtime.precision == "fp16":
        return asked_for or 0
    if runtime.device.type == "cpu":
        room, token_bytes = CACHED_LOGITS, 4
    else:
        # A compiled loss reads the logits as the product wrote them, and writes their gradient in
        # their place. Otherwise there are copies of them in fp32.
        room = int(LOGITS_SHARE * runtime.device_memory())
        token_bytes = runtime.dtype.itemsize if compiled else 4 * LOGIT_COPIES
    fits = room // (token_bytes * model.padded_vocab_size)
    whole = micro_batch * model.block_size <= fits
    return 0 if whole else max(LEAST_CHUNK, fits // 256 * 256)
