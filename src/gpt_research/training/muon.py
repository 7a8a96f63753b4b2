"""Muon: momentum whose matrices are made orthogonal before they change the weights.

A matrix of momentum has a few large singular values, so a step in its direction changes little
else. Muon sets all of them to about 1. Embeddings, heads and vectors take AdamW's step.
Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gpt_research.training.polynomials import PUBLISHED, Polynomial, best_polynomials

LEAST_NORM = 1e-7
"""Keeps a matrix of zeros from being divided by zero."""
ITERATIONS = 5
"""Of the published polynomial, which is then the same in each."""


class Muon(torch.optim.Optimizer):
    """Muon for the groups of kind `matrix`, AdamW for all others, in one optimizer."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        momentum: float = 0.95,
        iterations: int = ITERATIONS,
        products: torch.dtype = torch.float32,
    ) -> None:
        """Take parameter groups with a `kind` and, for each parameter, the rows of its `maps`.

        Args:
            betas: of AdamW.
            momentum: decay of the mean of gradients; the step looks one step ahead (Nesterov).
            iterations: of the polynomials; each is three products of the size of the matrix.
            products: type in which they are multiplied.
        """
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.momentum, self.products = momentum, products
        self.polynomials = [PUBLISHED] * ITERATIONS if iterations == ITERATIONS else best_polynomials(iterations)
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
        for weights, direction in zip(maps, orthogonal(directions, self.polynomials, self.products), strict=True):
            weights.mul_(1 - group["lr"] * group["weight_decay"])
            # A map to more features than it reads takes a longer step, so that its outputs change
            # as much as those of others.
            weights.add_(direction, alpha=-group["lr"] * max(1.0, weights.size(0) / weights.size(1)) ** 0.5)


def orthogonal(
    matrices: Sequence[torch.Tensor],
    polynomials: Sequence[Polynomial] = (PUBLISHED,) * ITERATIONS,
    products: torch.dtype = torch.float32,
) -> list[torch.Tensor]:
    """Return matrices with the same singular vectors whose singular values are about 1.

    Those of one shape are multiplied together.
    """
    results: list[torch.Tensor] = list(matrices)
    shapes: dict[torch.Size, list[int]] = {}
    for index, matrix in enumerate(matrices):
        shapes.setdefault(matrix.shape, []).append(index)
    for indices in shapes.values():
        stack = torch.stack([matrices[index] for index in indices]).to(products)
        for index, result in zip(indices, _orthogonal(stack, polynomials), strict=True):
            results[index] = result.to(matrices[index].dtype)
    return results


def _orthogonal(stack: torch.Tensor, polynomials: Sequence[Polynomial]) -> torch.Tensor:
    tall = stack.size(1) > stack.size(2)
    x = stack.mT if tall else stack  # X X' is then the smaller of the two squares
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=LEAST_NORM)
    wide = x.size(2) >= 2 * x.size(1)
    # All that happens to X is a product with polynomials of X X', so for a wide matrix one can
    # multiply these, which are smaller, and X only at the end. That takes the digits of fp32.
    x = _by_square(x, polynomials) if wide and x.dtype == torch.float32 else _by_steps(x, polynomials)
    return x.mT if tall else x


def _by_steps(x: torch.Tensor, polynomials: Sequence[Polynomial]) -> torch.Tensor:
    for a, b, c in polynomials:
        square = x @ x.mT
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, factor, x, beta=a)
    return x


def _by_square(x: torch.Tensor, polynomials: Sequence[Polynomial]) -> torch.Tensor:
    square = x @ x.mT
    product = square
    for index, (a, b, c) in enumerate(polynomials):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if index == 0 else factor @ product
        if index < len(polynomials) - 1:
            square = factor @ square @ factor
    return product @ x
