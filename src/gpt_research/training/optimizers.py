"""The optimizers, by name, and the groups of parameters that they treat alike.

To add an optimizer, write a function that takes parameter groups and settings and returns a
`torch.optim.Optimizer`, and put it into `OPTIMIZERS` under its name.
Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (AdamW).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn

from gpt_research.base.errors import look_up
from gpt_research.config import TrainConfig

ParameterGroup = dict[str, Any]
"""As torch takes it: params, weight_decay; and our own `kind` and `lr_scale`."""
MakeOptimizer = Callable[[list[ParameterGroup], TrainConfig], torch.optim.Optimizer]


def adamw(groups: list[ParameterGroup], config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW as GPT-2-class models use it, in one fused step."""
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=1e-8, fused=True)


OPTIMIZERS: dict[str, MakeOptimizer] = {"adamw": adamw}


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer that `config.optimizer.name` names, for a model's trainable parameters.

    Raises:
        UserError: no optimizer has that name.
    """
    make = look_up(OPTIMIZERS, config.optimizer.name, "optimizer.name")
    optimizer = make(parameter_groups(model, config.weight_decay), config)
    if _is_on_metal(model):
        # Metal's fused AdamW takes a step although `found_inf` says no (torch 2.11). Then the host
        # reads the flag, here and in torch's gradient scaler.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def _is_on_metal(model: nn.Module) -> bool:
    return any(parameter.device.type == "mps" for parameter in model.parameters())


def parameter_groups(model: nn.Module, weight_decay: float) -> list[ParameterGroup]:
    """Sort the parameters into kinds: matrices and embeddings decay, vectors (norms and biases) do
    not.

    The step sets the learning rate of a group to the schedule's rate times the group's `lr_scale`.
    """
    kinds: dict[str, list[nn.Parameter]] = {"matrix": [], "embedding": [], "vector": []}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue  # a tied weight belongs to the module that comes first, the embedding
            seen.add(parameter)
            matrix = "embedding" if isinstance(module, nn.Embedding) else "matrix"
            kinds["vector" if parameter.dim() < 2 else matrix].append(parameter)
    decay = {"matrix": weight_decay, "embedding": weight_decay, "vector": 0.0}
    return [
        {"params": parameters, "kind": kind, "weight_decay": decay[kind], "lr_scale": 1.0}
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
    # One step on a small matrix shows it, so an optimizer of a plugin need not state its bytes.
    module, weight = nn.Module(), nn.Parameter(torch.ones(64, 64))
    module.register_parameter("weight", weight)
    optimizer = make_optimizer(module, config)
    weight.sum().backward()
    optimizer.step()
    tensors = [value for value in optimizer.state[weight].values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // weight.numel()
