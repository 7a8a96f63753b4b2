"""Muon: momentum whose matrices are made orthogonal before they change the weights.

A matrix of momentum has a few large singular values, so a step in its direction changes little
else. Muon sets all of them to about 1. Embeddings, heads and vectors take AdamW's step.
Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial a x + b x^3 + c x^5 that brings singular values near 1."""
LEAST_NORM = 1e-7
"""Keeps a matrix of zeros from being divided by zero."""


class Muon(torch.optim.Optimizer):
    """Muon for the groups of kind `matrix`, AdamW for all others, in one optimizer."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        momentum: float = 0.95,
        iterations: int = 5,
    ) -> None:
        """Take parameter groups with a `kind` and, for each parameter, the rows of its `maps`.

        Args:
            betas: of AdamW.
            momentum: decay of the mean of gradients; the step looks one step ahead (Nesterov).
            iterations: of the polynomial; each is three products of the size of the matrix.
        """
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.momentum, self.iterations = momentum, iterations
        others = [group for group in self.param_groups if group["kind"] != "matrix"]
        # The two share their groups, so that learning rates reach both, and their state, so that a
        # checkpoint finds all of it in one place.
        self.adamw = torch.optim.AdamW(others, lr=lr, betas=betas, eps=1e-8, fused=True) if others else None
        if self.adamw is not None:
            self.adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change all weights that have a gradient."""
        assert closure is None, "gradients come from the training step"
        for group in self.param_groups:
            if group["kind"] == "matrix":
                self._step_matrices(group)
        if self.adamw is not None:
            self.adamw.step()

    def _step_matrices(self, group: dict[str, Any]) -> None:
        maps: list[torch.Tensor] = []
        directions: list[torch.Tensor] = []
        for parameter, rows in zip(group["params"], group["maps"], strict=True):
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - self.momentum)
            # Queries, keys and values are three maps in one tensor; each is made orthogonal alone.
            maps += parameter.split(rows)
            directions += parameter.grad.lerp(state["momentum"], self.momentum).split(rows)
        for weights, direction in zip(maps, orthogonal(directions, self.iterations), strict=True):
            weights.mul_(1 - group["lr"] * group["weight_decay"])
            # A map to more features than it reads takes a longer step, so that its outputs change
            # as much as those of others.
            weights.add_(direction, alpha=-group["lr"] * max(1.0, weights.size(0) / weights.size(1)) ** 0.5)


def orthogonal(matrices: Sequence[torch.Tensor], iterations: int = 5) -> list[torch.Tensor]:
    """Return matrices with the same singular vectors whose singular values are about 1.

    Those of one shape are multiplied together. On a CPU products are in fp32, because few CPUs
    multiply bf16 fast; elsewhere they are in bf16.
    """
    results: list[torch.Tensor] = list(matrices)
    shapes: dict[torch.Size, list[int]] = {}
    for index, matrix in enumerate(matrices):
        shapes.setdefault(matrix.shape, []).append(index)
    for indices in shapes.values():
        stack = torch.stack([matrices[index] for index in indices])
        for index, result in zip(indices, _orthogonal(stack, iterations), strict=True):
            results[index] = result.to(matrices[index].dtype)
    return results


def _orthogonal(stack: torch.Tensor, iterations: int) -> torch.Tensor:
    a, b, c = COEFFICIENTS
    x = stack.float() if stack.device.type == "cpu" else stack.bfloat16()
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x  # the square below is then the smaller of the two
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=LEAST_NORM)
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + torch.baddbmm(b * square, square, square, alpha=c) @ x
    return x.mT if tall else x
