"""Finds gradients that are not finite, and losses far above the recent ones."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any, Literal

Finding = Literal["not_finite", "spike"]

WINDOW, FEWEST = 100, 20
"""A loss is compared with the last 100 losses; before there are 20, no loss is a spike."""
MOST_BAD_STEPS = 3
"""Steps in a row without a finite gradient, after which training stops."""


class Health:
    """The recent losses, and the number of steps in a row without a finite gradient."""

    def __init__(self, spike_z: float) -> None:
        self.spike_z = spike_z
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.bad_in_a_row = 0

    def is_spike(self, loss: float) -> bool:
        """Return True if a loss is not finite, or more than `spike_z` deviations above the mean."""
        return not math.isfinite(loss) or (len(self.losses) >= FEWEST and self.z(loss) > self.spike_z)

    def z(self, loss: float) -> float:
        """Return how many standard deviations a loss lies above the mean of the recent ones."""
        spread = statistics.pstdev(self.losses)
        # The floor keeps rounding from counting as a spike when the loss has stopped moving.
        return (loss - statistics.fmean(self.losses)) / max(spread, 1e-3)

    def observe(self, loss: float, grad_norm: float, *, counts: bool = True) -> Finding | None:
        """Record the numbers of the next step; return what is wrong with them, or None.

        Args:
            counts: False if the gradient may overflow, as in fp16 while the scale is too large.
        """
        if not math.isfinite(grad_norm):
            self.bad_in_a_row += counts
            return "not_finite" if counts else None
        self.bad_in_a_row = 0
        spike = self.is_spike(loss)
        if not spike:  # a recorded spike would raise the mean and hide the next one
            self.losses.append(loss)
        return "spike" if spike else None

    @property
    def hopeless(self) -> bool:
        return self.bad_in_a_row >= MOST_BAD_STEPS

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "bad_in_a_row": self.bad_in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses = deque(state["losses"], maxlen=WINDOW)
        self.bad_in_a_row = state["bad_in_a_row"]
