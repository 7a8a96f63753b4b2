"""Which evaluation was the best so far, and how many came after it.

`--keep_best` keeps the weights of the best one, and `--early_stopping` ends a run that finds no
better one any more. The state is part of every checkpoint, so a resumed run judges as an
uninterrupted one does.
"""

from __future__ import annotations

import math
from typing import Any


class BestEvaluation:
    """The evaluations of a run, judged by their loss or by its moving average."""

    def __init__(self, smoothing: float = 0.0, patience: int = 0) -> None:
        """Begin without an evaluation.

        Args:
            smoothing: weight of the earlier losses in the moving average; 0 judges each loss by
                itself.
            patience: evaluations in a row without a new best after which a run ends; 0 for none.
        """
        self.smoothing, self.patience = smoothing, patience
        self.step: int | None = None
        """Step of the best evaluation."""
        self.loss = math.inf
        """What the best one was judged by, in nats a token."""
        self.without_gain = 0
        """Evaluations after the best one."""
        self._newest: dict[str, Any] | None = None
        self._sum = self._weight = 0.0

    def observe(self, step: int, loss: float) -> bool:
        """Judge the evaluation at a step; return True if it is the best so far."""
        judged = self._smoothed(loss)
        # JSON has no NaN.
        self._newest = {"step": step, "loss": loss, "judged": judged} if math.isfinite(judged) else None
        if judged < self.loss:
            self.step, self.loss, self.without_gain = step, judged, 0
            return True
        self.without_gain += 1
        return False

    @property
    def exhausted(self) -> bool:
        """True if the run has had its patience's worth of evaluations without a new best."""
        return 0 < self.patience <= self.without_gain

    def _smoothed(self, loss: float) -> float:
        """Return the moving average with this loss, corrected for its start."""
        if not math.isfinite(loss):
            return math.nan  # one bad evaluation must not spoil all later averages
        self._sum = self.smoothing * self._sum + (1 - self.smoothing) * loss
        self._weight = self.smoothing * self._weight + (1 - self.smoothing)
        return self._sum / self._weight

    def state_dict(self) -> dict[str, Any]:
        best = {"step": self.step, "loss": self.loss} if self.step is not None else None
        return {
            "best": best,
            "newest": self._newest,
            "without_gain": self.without_gain,
            "sum": self._sum,
            "weight": self._weight,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best = state["best"] or {"step": None, "loss": math.inf}
        self.step, self.loss, self.without_gain = best["step"], best["loss"], state["without_gain"]
        self._newest, self._sum, self._weight = state["newest"], state["sum"], state["weight"]
