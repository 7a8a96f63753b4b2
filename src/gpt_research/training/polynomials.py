"""The polynomials by which Muon makes a matrix orthogonal: they bring its singular values near 1.

A matrix X becomes a X + b (X X') X + c (X X')^2 X, again and again, so each singular value x
becomes a x + b x^3 + c x^5.
Source: Amsel et al. 2025, "The Polar Express: Optimal Matrix Sign Methods and Their Application to
the Muon Algorithm".
"""

from __future__ import annotations

import functools

import numpy as np

Polynomial = tuple[float, float, float]
"""a, b and c."""

PUBLISHED: Polynomial = (3.4445, -4.7750, 2.0315)
"""Those of Jordan et al. 2024, the same in each of five iterations; values end between 0.7 and
1.2."""
NEAR_ENOUGH = 1e-4
LOWEST = 1e-2
"""Singular values above this share of the largest norm are brought near 1."""


@functools.cache
def best_polynomials(iterations: int, lowest: float = LOWEST) -> list[Polynomial]:
    """Return the polynomials that bring all values from `lowest` to 1 nearest to 1, one after the
    other.

    Each is the best for the values that the one before it leaves, which is the best of all for
    their composition. The error after three is 0.27, after four 0.013.
    """
    low, high, found = lowest, 1.0, []
    for _ in range(iterations):
        if high - low > NEAR_ENOUGH:  # else the one before does as well again
            polynomial, error = _nearest_to_one(low, high)
            low, high = 1 - error, 1 + error
        found.append(polynomial)
    return found


def _nearest_to_one(low: float, high: float) -> tuple[Polynomial, float]:
    """Return the odd polynomial of degree 5 with the least largest distance from 1 between two
    values, and that distance.

    It is the one whose distance has the same size and other signs at four places, which Remez'
    exchange finds.
    """
    places = low + (high - low) * (1 - np.cos(np.pi * np.arange(4) / 3)) / 2
    grid = np.geomspace(low, high, 4001)
    for _ in range(50):
        powers = np.stack([places, places**3, places**5, [1.0, -1.0, 1.0, -1.0]], axis=1)
        a, b, c, level = np.linalg.solve(powers, np.ones(4))
        distance = 1 - (a * grid + b * grid**3 + c * grid**5)
        sides = np.split(np.arange(len(grid)), np.flatnonzero(np.diff(np.sign(distance))) + 1)
        farthest = np.array([side[np.argmax(np.abs(distance[side]))] for side in sides])
        if len(farthest) != 4 or np.allclose(grid[farthest], places, rtol=1e-6):
            break  # with an error as small as rounding there are no four places
        places = grid[farthest]
    return (float(a), float(b), float(c)), abs(float(level))
