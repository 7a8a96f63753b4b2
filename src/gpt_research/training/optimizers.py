"""The optimizers, by name, and the groups of parameters that they treat alike.

To add an optimizer, write a function that takes parameter groups and settings and returns a
`torch.optim.Optimizer`, and put it into `OPTIMIZERS` under its name.
Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (AdamW).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn

from gpt_research.base.errors import UserError
from gpt_research.training.muon import Muon
from gpt_research.training.package_optimizers import make_package_optimizer

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
        if group["kind"] == "matrix":
            # A step of Muon has the same norm as a map at any width, so mup leaves it as it is.
            group["lr_scale"] *= config.model.width_ratio
            group["weight_decay"] /= config.model.width_ratio
        else:
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
    """Return the optimizer that `config.optimizer.name` names, for a model's trainable parameters:
    an entry of `OPTIMIZERS`, or one of the package pytorch-optimizer.

    Raises:
        UserError: no optimizer has that name or takes these options, or it cannot be sharded.
    """
    name, chosen = config.optimizer.name, config.optimizer
    groups = parameter_groups(model, chosen, config.weight_decay, config.model.width_ratio)
    if (make := own_optimizer(name)) is None:
        optimizer = make_package_optimizer(groups, config, OPTIMIZERS)
    elif chosen.options and make in (adamw, muon):
        raise UserError(f"optimizer.options are for optimizers of pytorch-optimizer, and {name} has settings instead.")
    else:
        optimizer = make(groups, config)
    # What steps change in the groups is a part of a checkpoint.
    optimizer.groups_at_start = [dict(group) for group in optimizer.param_groups]  # type: ignore[attr-defined]
    if _is_on_metal(model):
        # Metal's fused AdamW takes a step although `found_inf` says no (torch 2.11). Then the host
        # reads the flag, here and in torch's gradient scaler.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def own_optimizer(name: str) -> MakeOptimizer | None:
    """Return the entry of `OPTIMIZERS` that a name means; None if it can be the package's alone."""
    return OPTIMIZERS.get(name) or OPTIMIZERS.get(name.lower())


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
    # The step multiplies decay and learning rate. Under mup the product is that of all widths.
    decay = {"matrix": weight_decay * width_ratio, "vector": chosen.vector_weight_decay}
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


def state_bytes(config: TrainConfig) -> int:
    """Return the bytes of optimizer state for one fp32 parameter.

    Raises:
        UserError: as `make_optimizer` does.
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

    return max(_held_bytes(optimizer.state[weight]) // weight.numel() for weight in weights)


def _held_bytes(value: Any) -> int:
    """Return the bytes of the tensors in a state, however deep."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_held_bytes, value)) if isinstance(value, list | tuple | deque) else 0
