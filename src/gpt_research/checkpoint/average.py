"""The mean of the weights of several checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import shape_of


def mean_weights(sources: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of the weights of several checkpoints, by name, in fp32.

    Args:
        sources: the weights of each checkpoint, by its place.

    Raises:
        UserError: two do not have the same names and shapes.
    """
    (first, weights), *others = sources.items()
    for place, theirs in others:
        if weights.keys() != theirs.keys():
            differ = ", ".join(sorted(weights.keys() ^ theirs.keys())[:3])
            raise UserError(f"{place} is of another model than {first}: the names of weights differ ({differ}, ...).")
        for name in weights:
            ours, other = shape_of(weights, name), shape_of(theirs, name)
            if ours != other:
                raise UserError(f"{place} is of another model than {first}: {name} is {other}, and there {ours}.")
    return {name: mean([source[name] for source in sources.values()]) for name in weights}


def mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of fp32 tensors of one shape, in fp32. It is that of their exact sum, so that
    their order changes nothing.
    """
    # Each addition in fp64 leaves an error that fp64 holds exactly (Knuth 1969, "two-sum"). With
    # the sum of the errors there are more than 100 bits, and an fp32 number has 24.
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    error = torch.zeros_like(total)
    for tensor in tensors:
        value = tensor.double()
        larger = total + value
        back = larger - total
        error += (total - (larger - back)) + (value - back)
        total = larger
    return ((total + error) / len(tensors)).float()
