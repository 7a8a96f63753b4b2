"""What is done about a step that went wrong: a black box of it is written, and if there are too
many in a row, the weights from before them are saved and the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpt_research.base import hints
from gpt_research.base.errors import NotFiniteError, UserError
from gpt_research.checkpoint.weights import held_rows
from gpt_research.training.black_box import write_black_box
from gpt_research.training.health import MOST_BAD_STEPS, Finding

if TYPE_CHECKING:
    from gpt_research.base.runtime import Runtime
    from gpt_research.training.reporter import Reporter
    from gpt_research.training.state import RunState, Saving


class BadSteps:
    """The steps of a run that went wrong. All ranks call its methods at the same steps."""

    def __init__(
        self,
        run: Path,
        state: RunState,
        saving: Saving,
        runtime: Runtime,
        reporter: Reporter,
        windows: Callable[[int], Sequence[dict[str, Any]]],
    ) -> None:
        """Keep what the record of a step needs.

        Args:
            windows: from a step, counted from 0, to what rank 0 read in it.
        """
        self._run, self._state, self._saving = run, state, saving
        self._runtime, self._reporter, self._windows = runtime, reporter, windows

    def record(self, step: int, finding: Finding, loss: float, norm: float) -> None:
        """Write the black box of a step, and say so."""
        facts = {"finding": finding, "loss": repr(loss), "grad_norm": repr(norm)}
        windows = self._windows(step - 1) if self._runtime.is_main else []
        path = write_black_box(self._run, step, facts, self._state.train_step, self._state.lineage, windows)
        what = "its gradient is not finite, so it was skipped" if finding == "not_finite" else "its loss is a spike"
        self._reporter.note(f"step {step:,}  {what}: {path}")

    def give_up(self, at: int, step: int) -> UserError:
        """Save the weights from before the bad steps; return the error that is to stop the run.

        Args:
            at: the step at which there were too many in a row.
            step: the last step that was taken, which is later if the device ran ahead.

        Raises:
            UserError: the weights could not be written.
        """
        saving, good = self._saving, step - self._state.forget_bad_steps()
        parameters = self._state.train_step.model.parameters()
        finite = all(bool(torch.isfinite(held_rows(parameter)[0]).all()) for parameter in parameters)
        if self._runtime.any_rank(not finite):
            what = "The weights hold numbers that are not finite, so they were not saved."
        elif good > (saving.newest or 0):
            saving.save(good)
            what = f"The weights before them are saved as step {good:,}."
        elif saving.newest is not None:
            what = f"The weights before them are those of the checkpoint of step {saving.newest:,}."
        else:
            what = "No step before them changed the weights, so nothing was saved."
        saving.wait()
        return NotFiniteError(
            f"{MOST_BAD_STEPS} steps in a row, up to step {at}, had a gradient that is not finite. {what} "
            f"Look with: {hints.command('replay', self._run, '--step', at)}; then lower learning_rate, or use bf16 or "
            "fp32."
        )
