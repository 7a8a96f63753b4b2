"""Parameter names, ours and another program's, both ways; fused matrices are cut and joined.

Knows nothing about files, and of shapes only the rows of fused matrices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from gpt_research.base.errors import UserError

_OURS = re.compile(r"blocks\.(\d+)\.([\w.]+)")

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Names:
    """Names of modules in another program, by our names of them.

    If several names stand for one of ours, its rows are cut into so many tensors there.
    """

    block: str
    """The path of a block, with {} for its number, such as `model.layers.{}`."""
    outside: Mapping[str, str]
    """Of modules outside blocks."""
    inside: Mapping[str, str | tuple[str, ...]]
    """Of modules inside blocks, from the block on."""

    def theirs(self, name: str) -> tuple[str, ...]:
        """Return their names of one of our parameters; KeyError for a name that they lack."""
        module, _, kind = name.rpartition(".")
        if match := _OURS.fullmatch(module):
            found = self.inside[match[2]]
            parts = (found,) if isinstance(found, str) else found
            return tuple(f"{self.block.format(match[1])}.{part}.{kind}" for part in parts)
        return (f"{self.outside[module]}.{kind}",)

    def ours(self, name: str) -> tuple[str, int]:
        """Return our name of one of their parameters and its place in the fused matrix; KeyError
        for a name that we lack.
        """
        module, _, kind = name.rpartition(".")
        if match := self._block_pattern.fullmatch(module):
            ours, place = self._inside[match[2]]
            return f"blocks.{match[1]}.{ours}.{kind}", place
        return f"{self._outside[module]}.{kind}", 0

    def to_theirs(self, tensors: Tensors, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Give our tensors their names.

        Args:
            rows: of the parts of a fused matrix.
        """
        found: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            theirs = self.theirs(name)
            parts = [tensor] if len(theirs) == 1 else tensor.split(list(rows))
            found |= dict(zip(theirs, parts, strict=True))
        return found

    def to_ours(self, tensors: Tensors, where: str) -> dict[str, torch.Tensor]:
        """Give their tensors our names.

        Raises:
            UserError: a tensor that the family does not have, or a part of a fused matrix is
                missing; the message names `where` and the tensor.
        """
        parts: dict[str, dict[int, torch.Tensor]] = {}
        for name in tensors:
            try:
                ours, place = self.ours(name)
            except KeyError:
                raise UserError(
                    f'{where} has the tensor "{name}", which its model_type does not have. It cannot be imported.'
                ) from None
            parts.setdefault(ours, {})[place] = tensors[name]
        found = {}
        for ours, pieces in parts.items():
            for place, name in enumerate(self.theirs(ours)):
                if place not in pieces:
                    raise UserError(f'{where} is not a whole model: it lacks "{name}".')
            ordered = [pieces[place] for place in sorted(pieces)]
            if len({piece.shape[1:] for piece in ordered}) > 1:
                raise UserError(f"{where} is damaged: the parts of {ours} have different widths.")
            found[ours] = ordered[0] if len(ordered) == 1 else torch.cat(ordered)
        return found

    @cached_property
    def _block_pattern(self) -> re.Pattern[str]:
        before, after = map(re.escape, self.block.split("{}"))
        return re.compile(rf"{before}(\d+){after}\.([\w.]+)")

    @cached_property
    def _inside(self) -> dict[str, tuple[str, int]]:
        return {
            part: (ours, place)
            for ours, theirs in self.inside.items()
            for place, part in enumerate((theirs,) if isinstance(theirs, str) else theirs)
        }

    @cached_property
    def _outside(self) -> dict[str, str]:
        return {theirs: ours for ours, theirs in self.outside.items()}
