"""Saves and restores the state of an optimizer, by the names of the model's parameters.

Tensors go to a file, as `<moment>/<parameter>`. What else an optimizer keeps goes to JSON: numbers,
lists and dictionaries in the state of a parameter, state that belongs to no parameter, and what
steps change in the groups. If the model is sharded, each process saves and restores the rows that
it holds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn as nn

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import copy_rows, held_rows, is_sharded, shape_of

OF_THE_SETTINGS = {"params", "kind", "lr", "lr_scale", "weight_decay", "maps", "use_muon"}
"""Entries of a group that the settings give anew when a run goes on."""
CONTAINERS = {"list": list, "tuple": tuple, "deque": deque, "dict": dict}


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that the optimizer keeps, by name, copied to the CPU.

    If the model is sharded, only the rows that this process holds.
    """
    parameters, tensors = dict(model.named_parameters()), {}
    first = next(iter(parameters.values()))
    for key, value in state_tensors(optimizer, model).items():
        # What is not sharded, such as a step count, is equal on all processes. The one with the
        # first row saves it.
        rows, number = held_rows(value if is_sharded(value) else parameters.get(_owner(key), first))
        if is_sharded(value) and rows.numel():
            tensors[key] = rows.to("cpu", copy=True)
        elif not is_sharded(value) and (number == 0 and rows.numel()):
            tensors[key] = value.detach().to("cpu", copy=True)
    return tensors


def optimizer_first_rows(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, int]:
    """Return the first row of each tensor of `optimizer_tensors`, if it is not 0."""
    found = state_tensors(optimizer, model).items()
    return {key: first for key, value in found if (first := held_rows(value)[1])}


def state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that the optimizer keeps, by name, as they are on the device."""
    return _encoded(optimizer, model)[1]


def optimizer_values(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return what the optimizer keeps besides plain tensors, as JSON holds it; often nothing.

    Raises:
        UserError: it keeps an object that JSON cannot hold.
    """
    return _encoded(optimizer, model)[0]


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    values: Mapping[str, Any] | None = None,
) -> None:
    """Load saved state into the optimizer; if the model is sharded, this process's rows.

    Args:
        values: what `optimizer_values` returned.

    Raises:
        UserError: the model has no such parameter, or it has another shape.
    """
    parameters, values = dict(model.named_parameters()), values or {}
    device = next(iter(parameters.values())).device
    read = _Reader(tensors, parameters, device)
    for name, moments in values.get("state", {}).items():
        if name not in parameters:
            raise UserError(f"The checkpoint's optimizer state of {name} does not fit the model.")
        optimizer.state[parameters[name]] |= {moment: read.value(value) for moment, value in moments.items()}
    for key, value in values.get("shared", {}).items():
        optimizer.state[key] = read.value(value)
    for group, changed in zip(optimizer.param_groups, values.get("groups", []), strict=False):
        group |= {key: read.value(value) for key, value in changed.items()}
    for key in tensors:
        if key not in read.taken:
            moment, _, name = key.partition("/")
            if name not in parameters:
                raise UserError(f"The checkpoint's optimizer state {key} does not fit the model.")
            optimizer.state[parameters[name]][moment] = read.value({"tensor": key})


def _owner(key: str) -> str:
    return key.partition("/")[2]


def _encoded(optimizer: torch.optim.Optimizer, model: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what the optimizer keeps, as JSON with the names of tensors, and those tensors."""
    tensors: dict[str, torch.Tensor] = {}
    state: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        saved = {
            moment: _as_json(value, moment, name, tensors, parameter.device)
            for moment, value in optimizer.state[parameter].items()
        }
        # A tensor under its own name needs no further word.
        others = {m: entry for m, entry in saved.items() if entry != {"tensor": f"{m}/{name}"}}
        state |= {name: others} if others else {}
    device = next(model.parameters()).device
    entries: Mapping[Any, Any] = optimizer.state  # some keep a state of the whole model under a name
    shared = {
        key: _as_json(value, key, "<optimizer>", tensors, device)
        for key, value in entries.items()
        if isinstance(key, str)
    }
    groups = [
        {key: _as_json(value, key, f"<group {number}>", tensors, device) for key, value in changed}
        for number, changed in enumerate(map(list, _changes(optimizer)))
    ]
    found = {"state": state, "shared": shared, "groups": groups if any(groups) else []}
    return {part: entries for part, entries in found.items() if entries}, tensors


def _changes(optimizer: torch.optim.Optimizer) -> Iterator[Iterator[tuple[str, Any]]]:
    """Yield for each group the entries that steps have changed, or may have changed in place."""
    # `make_optimizer` remembers them; of an optimizer that it did not make, nothing is known.
    begun = getattr(optimizer, "groups_at_start", optimizer.param_groups)
    for group, before in zip(optimizer.param_groups, begun, strict=True):
        yield (
            (key, value)
            for key, value in group.items()
            if key not in OF_THE_SETTINGS and _may_differ(value, before.get(key, ...))
        )


def _may_differ(value: Any, before: Any) -> bool:
    return isinstance(value, torch.Tensor) or isinstance(before, torch.Tensor) or value != before


def _as_json(value: Any, path: str, owner: str, tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    """Return a value as JSON, and add its tensors under names that begin with `path`."""
    if isinstance(value, torch.Tensor):
        key = f"{path}/{owner}"
        tensors[key] = value
        # The order in memory decides how a product rounds. torch keeps some counts on the CPU.
        reordered = not is_sharded(value) and not value.is_contiguous() and _fills_its_memory(value)
        stride = {"stride": list(value.stride())} if reordered else {}
        return {"tensor": key, **stride, **({"device": "cpu"} if value.device != device else {})}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    for kind, container in CONTAINERS.items():
        if type(value) is container:
            items = list(value.items()) if kind == "dict" else list(value)
            inner = [
                _as_json(list(item) if kind == "dict" else item, f"{path}.{number}", owner, tensors, device)
                for number, item in enumerate(items)
            ]
            return {kind: inner, **({"maxlen": value.maxlen} if kind == "deque" else {})}
    raise UserError(f"{path} of {owner} is a {type(value).__name__}, which a checkpoint cannot hold.")


def _fills_its_memory(tensor: torch.Tensor) -> bool:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return last + 1 == tensor.numel()


class _Reader:
    """Makes values of their JSON and of the saved tensors."""

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], parameters: Mapping[str, nn.Parameter], device: torch.device
    ) -> None:
        self._tensors, self._parameters, self._device = tensors, parameters, device
        self.taken: set[str] = set()
        """Names of the tensors that were read."""

    def value(self, saved: Any) -> Any:
        if not isinstance(saved, dict):
            return saved
        if "tensor" in saved:
            return self._tensor(saved)
        if "float" in saved:
            return float(saved["float"])
        kind = next(kind for kind in CONTAINERS if kind in saved)
        items = [self.value(item) for item in saved[kind]]
        return deque(items, saved["maxlen"]) if kind == "deque" else CONTAINERS[kind](items)

    def _tensor(self, saved: Mapping[str, Any]) -> torch.Tensor:
        key = saved["tensor"]
        self.taken.add(key)
        parameter, shape = self._parameters.get(_owner(key)), shape_of(self._tensors, key)
        if parameter is not None and is_sharded(parameter) and shape == parameter.shape:
            value = torch.zeros_like(parameter, requires_grad=False)
            copy_rows(self._tensors, key, value, shape[0])
            return value
        read = self._tensors[key].to(saved.get("device", self._device), copy=True)
        return (
            read
            if "stride" not in saved
            else torch.empty_strided(read.shape, saved["stride"], dtype=read.dtype, device=read.device).copy_(read)
        )
