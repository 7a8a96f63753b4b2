"""Between a model and the tensors of a checkpoint: which rows are saved, and which of them this process holds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import SavedTensors
from gpt_research.model.gpt import GPT


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether a tensor is FSDP's, of which each process holds some rows."""
    return hasattr(tensor, "to_local")  # to import its class, DTensor, takes a second


def held_rows(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return what this process holds of a tensor, and the number of its first row: all of it, or FSDP's share."""
    if not is_sharded(tensor):
        return tensor.detach(), 0
    # FSDP gives each process an equal run of rows, rounded up; the last ones may have fewer or none.
    mesh, local = tensor.device_mesh, tensor.detach().to_local()  # type: ignore[attr-defined]
    rows = math.ceil(tensor.size(0) / mesh.size())
    return local, min(rows * mesh.get_local_rank(), tensor.size(0))


def first_rows(model: GPT) -> dict[str, int]:
    """Return the first row that this process holds of each parameter, where that is not 0."""
    return {name: first for name, p in model.named_parameters() if (first := held_rows(p)[1])}


def model_tensors(model: GPT) -> dict[str, torch.Tensor]:
    """Return the weights to save, on the CPU: tied ones once, padding rows cut off.

    Of a sharded model, the rows that this process holds; a tensor of which it holds none is left out.
    """
    found = {}
    for name, parameter in model.named_parameters():  # a shared parameter comes once
        tensor, first = held_rows(parameter)
        tensor = tensor[: _saved_rows(model, name, parameter) - first] if tensor.dim() else tensor
        if tensor.numel() or not is_sharded(parameter):
            found[name] = tensor.to("cpu", copy=True)
    return found


def _saved_rows(model: GPT, name: str, parameter: torch.Tensor) -> int:
    """Return how many rows of a parameter a checkpoint holds: all but the vocabulary's padding."""
    return model.config.vocab_size if name in ("token_embedding.weight", "head.weight") else parameter.size(0)


def restore_model(model: GPT, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Put saved weights into a model; of a sharded one, the rows that this process holds.

    Raises:
        UserError: a name is missing, unknown or of another shape.
    """
    parameters = dict(model.named_parameters())
    if parameters.keys() != tensors.keys():
        differ = ", ".join(sorted(parameters.keys() ^ tensors.keys())[:3])
        raise UserError(f"{where} is of another model than its config: the names differ ({differ}, ...).")
    for name, parameter in parameters.items():
        rows = _saved_rows(model, name, parameter)
        expected, found = (rows, *parameter.shape[1:]), shape_of(tensors, name)
        if found != expected:
            raise UserError(f"{where}: {name} has shape {found}, the model {expected}.")
        copy_rows(tensors, name, parameter, rows)


def shape_of(tensors: Mapping[str, torch.Tensor], name: str) -> tuple[int, ...]:
    """Return the shape of a whole tensor, from the file's header where it lies in one."""
    return tensors.shape(name) if isinstance(tensors, SavedTensors) else tuple(tensors[name].shape)


def copy_rows(tensors: Mapping[str, torch.Tensor], name: str, into: torch.Tensor, rows: int) -> None:
    """Copy what this process holds of the first `rows` rows of `into` from the whole tensor of that name."""
    held, first = held_rows(into)
    end = min(first + len(held), rows)
    if first < end:
        read = tensors.rows(name, first, end) if isinstance(tensors, SavedTensors) else tensors[name][first:end]
        held[: end - first].copy_(read)
