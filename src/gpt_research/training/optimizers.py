"""The optimizers, by name, and the groups of parameters that they treat alike.

To add an optimizer, write a function that takes parameter groups and settings and returns a
`torch.optim.Optimizer`, and put it into `OPTIMIZERS` under its name.
Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (AdamW).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn

from gpt_research.base.errors import UserError, look_up
from gpt_research.training.muon import Muon

if TYPE_CHECKING:
    from gpt_research.config import OptimizerConfig, TrainConfig

ParameterGroup = dict[str, Any]
"""As torch takes it: params, weight_decay; and our own `kind` and `lr_scale`."""
MakeOptimizer = Callable[[list[ParameterGroup], "TrainConfig"], torch.optim.Optimizer]


def adamw(groups: list[ParameterGroup], config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW as GPT-2-class models use it, in one fused step."""
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=1e-8, fused=True)


def muon(groups: list[ParameterGroup], config: TrainConfig) -> torch.optim.Optimizer:
    """Return Muon for the matrices, at the learning rate; AdamW takes the rest at a share of it.

    Raises:
        UserError: the model is sharded.
    """
    if any(hasattr(parameter, "full_tensor") for group in groups for parameter in group["params"]):  # DTensors
        raise UserError(
            "optimizer.name is muon, but the model is sharded, and Muon needs whole matrices. Use --parallel ddp or "
            "another optimizer."
        )
    for group in groups:
        if group["kind"] != "matrix":
            group["lr_scale"] *= config.optimizer.muon_others_lr_scale
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    # Where precision is bf16, the CPU multiplies it fast; on others it is slower than fp32.
    fast = torch.bfloat16 if config.precision == "bf16" or not on_cpu else torch.float32
    return Muon(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        iterations=config.optimizer.muon_iterations,
        products=fast,
    )


OPTIMIZERS: dict[str, MakeOptimizer] = {"adamw": adamw, "muon": muon}


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer that `config.optimizer.name` names, for a model's trainable parameters.

    Raises:
        UserError: no optimizer has that name.
    """
    make = look_up(OPTIMIZERS, config.optimizer.name, "optimizer.name")
    optimizer = make(parameter_groups(model, config.optimizer, config.weight_decay, config.model.width_ratio), config)
    if _is_on_metal(model):
        # Metal's fused AdamW takes a step although `found_inf` says no (torch 2.11). Then the host
        # reads the flag, here and in torch's gradient scaler.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def _is_on_metal(model: nn.Module) -> bool:
    return any(parameter.device.type == "mps" for parameter in model.parameters())


def parameter_groups(
    model: nn.Module, chosen: OptimizerConfig, weight_decay: float, width_ratio: float
) -> list[ParameterGroup]:
    """Sort the parameters into kinds: matrix, embedding, head (if it is not tied) and vector (norms
    and biases). By default all but vectors decay.

    The step sets the learning rate of a group to the schedule's rate times the group's `lr_scale`.

    Args:
        width_ratio: the model's width in units of that at which mup equals standard.
    """
    kinds: dict[str, list[nn.Parameter]] = {"matrix": [], "embedding": [], "head": [], "vector": []}
    seen: set[nn.Parameter] = set()
    head = getattr(model, "head", None)
    fused: dict[nn.Parameter, list[int]] = {}
    for module in model.modules():
        for name, rows in getattr(module, "fused_rows", {}).items():
            fused[module.get_parameter(f"{name}.weight")] = rows
        for parameter in module.parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue  # a tied weight belongs to the module that comes first, the embedding
            seen.add(parameter)
            kind = "embedding" if isinstance(module, nn.Embedding) else "head" if module is head else "matrix"
            kinds["vector" if parameter.dim() < 2 else kind].append(parameter)
    decay = {"matrix": weight_decay, "vector": chosen.vector_weight_decay}
    for kind, own in (("embedding", chosen.embedding_weight_decay), ("head", chosen.head_weight_decay)):
        decay[kind] = weight_decay if own is None else own
    scale = {"embedding": chosen.embedding_lr_scale, "head": chosen.head_lr_scale}
    # Under mup a matrix that reads a wider input takes smaller steps, since more of them add up.
    scale["matrix"] = 1 / width_ratio
    return [
        {
            "params": parameters,
            "kind": kind,
            "weight_decay": decay[kind],
            "lr_scale": scale.get(kind, 1.0),
            # The rows of each map in a parameter: one map, unless its module says otherwise.
            "maps": [fused.get(parameter, [len(parameter)]) for parameter in parameters],
        }
        for kind, parameters in kinds.items()
        if parameters
    ]


def step_unless(optimizer: torch.optim.Optimizer, leave_out: torch.Tensor) -> None:
    """Take the optimizer's step, unless `leave_out`, a boolean scalar on the device, is true."""
    # torch's fused optimizers read the flag on the device: they take it as the `found_inf` of a
    # gradient scaler and then change nothing, so the host does not wait for it. For every other
    # optimizer the host reads the flag.
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = leave_out.float()  # type: ignore[attr-defined]
        optimizer.step()
    elif not leave_out.item():
        optimizer.step()


def state_bytes(config: TrainConfig) -> int:
    """Return the bytes of optimizer state for one fp32 parameter.

    Raises:
        UserError: no optimizer has the name that `config.optimizer.name` gives.
    """
    # One step on two small tables shows it, so an optimizer of a plugin need not state its bytes.
    # Muon keeps less for a matrix than AdamW for an embedding; the larger number is taken for all.
    table = torch.ones(64, 64)
    module, matrix = nn.Embedding.from_pretrained(table, freeze=False), nn.Module()
    matrix.register_parameter("weight", nn.Parameter(table.clone()))
    module.add_module("matrix", matrix)
    optimizer = make_optimizer(module, config)
    weights = list(module.parameters())
    sum(weight.sum() for weight in weights).backward()
    optimizer.step()

    def held(weight: nn.Parameter) -> int:
        tensors = [value for value in optimizer.state[weight].values() if isinstance(value, torch.Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // weight.numel()

    return max(map(held, weights))
