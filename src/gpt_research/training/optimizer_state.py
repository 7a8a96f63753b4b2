"""Saves and restores the state of an optimizer, by the names of the model's parameters.

It works for every optimizer that keeps its state in `optimizer.state[parameter]` as torch's do. If
the model is sharded, each process saves and restores the rows that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn as nn

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import copy_rows, held_rows, shape_of


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the optimizer's state as `<moment>/<parameter>`, copied to the CPU.

    If the model is sharded, only the rows that this process holds.
    """
    tensors = {}
    for name, parameter in model.named_parameters():
        for moment, value in optimizer.state[parameter].items():
            held, first = held_rows(value if value.dim() else parameter)
            # A scalar, such as a step count, is equal on all processes. The one with the first row
            # saves it.
            if held.numel() and (value.dim() or first == 0):
                tensors[f"{moment}/{name}"] = (held if value.dim() else value).detach().to("cpu", copy=True)
    return tensors


def optimizer_first_rows(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, int]:
    """Return the first row of each tensor of `optimizer_tensors`, if it is not 0."""
    return {
        f"{moment}/{name}": first
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state[parameter].items()
        if (first := held_rows(value)[1])
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Load saved state into the optimizer; if the model is sharded, this process's rows.

    Raises:
        UserError: the model has no such parameter, or it has another shape.
    """
    parameters = dict(model.named_parameters())
    for key in tensors:
        moment, _, name = key.partition("/")
        parameter, shape = parameters.get(name), shape_of(tensors, key)
        if parameter is None or (shape and shape != parameter.shape):
            raise UserError(f"The checkpoint's optimizer state {key} does not fit the model.")
        if shape:
            value = torch.zeros_like(parameter, requires_grad=False)
            copy_rows(tensors, key, value, shape[0])
        else:  # fused AdamW keeps its step count on the parameter's device
            value = tensors[key].to(parameter.device, copy=True)
        optimizer.state[parameter][moment] = value
