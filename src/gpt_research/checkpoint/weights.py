"""Between a module and a checkpoint's tensors: the rows that are saved, and those held here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import SavedTensors


class PaddedModule(Protocol):
    """A module whose parameters may end in padding rows, which are not saved."""

    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]: ...

    def saved_rows(self) -> Mapping[str, int]:
        """Return how many rows of a parameter are saved, by name; if it is not named, all are."""
        ...


def is_sharded(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is FSDP's, of which each process holds some rows."""
    return hasattr(tensor, "to_local")  # importing its class, DTensor, would take a second


def held_rows(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the rows of a tensor that this process holds, and the number of the first row.

    These are all rows, or FSDP's share.
    """
    if not is_sharded(tensor):
        return tensor.detach(), 0
    # FSDP gives each process an equal number of rows, rounded up; the last may have fewer or none.
    # HSDP has a second dimension of the mesh, the nodes, along which the rows are the same.
    mesh, local = tensor.device_mesh, tensor.detach().to_local()  # type: ignore[attr-defined]
    along = next(index for index, placement in enumerate(tensor.placements) if placement.is_shard())  # type: ignore[attr-defined]
    rows = -(-tensor.size(0) // mesh.size(along))
    return local, min(rows * mesh.get_local_rank(along), tensor.size(0))


def first_rows(model: PaddedModule) -> dict[str, int]:
    """Return the first row that this process holds of each parameter, if that is not 0."""
    return {name: first for name, p in model.named_parameters() if (first := held_rows(p)[1])}


def model_tensors(model: PaddedModule, *, copy: bool = True) -> dict[str, torch.Tensor]:
    """Return the weights to save, on the CPU: tied ones once, padding rows cut off.

    Of a sharded model, the rows that this process holds; a tensor of which it holds none is left
    out.

    Args:
        copy: False lets tensors share the memory of a model on the CPU; those that no step changes
            share it always.
    """
    saved, tensors = model.saved_rows(), {}
    for name, parameter in model.named_parameters():  # a shared parameter comes once
        tensor, first = held_rows(parameter)
        if name in saved:
            tensor = tensor[: saved[name] - first]
        if tensor.numel() or not is_sharded(parameter):
            tensors[name] = tensor.to("cpu", copy=copy and parameter.requires_grad)
    return tensors


def restore_model(
    model: PaddedModule, tensors: Mapping[str, torch.Tensor], where: str, *, partly: bool = False
) -> None:
    """Put saved weights into a model; of a sharded one, the rows that this process holds.

    Parameters that are shapes only (`GPT(config, drawn=False)`) get memory on the CPU.

    Args:
        partly: a parameter without a tensor stays as it is.

    Raises:
        UserError: a name is missing, unknown or of another shape.
    """
    parameters, saved = dict(model.named_parameters()), model.saved_rows()
    if partly:
        parameters = {name: parameter for name, parameter in parameters.items() if name in tensors}
    if parameters.keys() != tensors.keys():
        differ = ", ".join(sorted(parameters.keys() ^ tensors.keys())[:3])
        raise UserError(f"{where} is of another model than its config: the names differ ({differ}, ...).")
    for name, parameter in parameters.items():
        expected, shape = tuple(parameter.shape), shape_of(tensors, name)
        if name in saved:
            expected = (saved[name], *expected[1:])
        if shape != expected:
            raise UserError(f"{where}: {name} has shape {shape}, the model {expected}.")
        if parameter.is_meta:  # it was not drawn, because it is read here
            empty = torch.nn.Parameter(torch.zeros(parameter.shape, device="cpu"), parameter.requires_grad)
            torch.utils.swap_tensors(parameter, empty)
        copy_rows(tensors, name, parameter, expected[0] if expected else 1)


def shape_of(tensors: Mapping[str, torch.Tensor], name: str) -> tuple[int, ...]:
    """Return the shape of a whole tensor; if it lies in a file, from the file's header."""
    return tensors.shape(name) if isinstance(tensors, SavedTensors) else tuple(tensors[name].shape)


def copy_rows(tensors: Mapping[str, torch.Tensor], name: str, into: torch.Tensor, rows: int) -> None:
    """Copy a saved tensor into the first `rows` rows of `into`, as far as they are held here."""
    held, first = held_rows(into)
    if not held.dim():
        held.copy_(tensors[name])
        return
    end = min(first + len(held), rows)
    if first < end:
        read = tensors.rows(name, first, end) if isinstance(tensors, SavedTensors) else tensors[name][first:end]
        held[: end - first].copy_(read)
