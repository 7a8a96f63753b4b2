"""The checkpoints of runs, opened one by one and kept as long as there is room.

Only weights are read, never the optimizer's state, and they are verified when they are read. A run
that still trains gets new checkpoints and loses old ones, so each call looks at what is there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import checkpoint_path, saved_steps
from gpt_research.run import Run

ROOM = 1 << 30
"""Bytes of weights that are kept, unless a cache is told otherwise."""


class CheckpointLost(UserError):  # noqa: N818  it is what has happened
    """A checkpoint cannot be opened: it is damaged, or of a plugin that is not loaded."""


class CheckpointGone(CheckpointLost):
    """A checkpoint was deleted, or was never there."""

    def __init__(self, run: Path, step: int) -> None:
        self.steps = saved_steps(run)
        """The steps that are still there."""
        there = f"it has those of the steps {', '.join(f'{s:,}' for s in self.steps)}" if self.steps else "none is left"
        super().__init__(f"{run} has no checkpoint of step {step:,} any more: {there}.")


class Checkpoints:
    """Opened checkpoints of any number of runs. Several threads may ask."""

    def __init__(self, room: int = ROOM, ema: bool | None = None) -> None:
        """Keep at most `room` bytes of weights, but always the checkpoint that was asked for last.

        Args:
            ema: as in `Run.open`.
        """
        self._room, self._ema = room, ema
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Path, int], tuple[int, Run]] = OrderedDict()
        """By run and step: when the checkpoint was written, and the opened run."""

    def open(self, folder: Path, step: int) -> Run:
        """Return the run at a step. It is shared, so nobody may change it.

        Raises:
            CheckpointGone: there is no such checkpoint.
            CheckpointLost: it cannot be opened.
        """
        with self._lock:
            written = _written(folder, step)
            found = self._open.pop((folder, step), None)
            if found is None or found[0] != written:  # a resumed run may have saved the step again
                try:
                    found = written, self._opened(folder, step)
                except UserError as error:
                    _written(folder, step)  # it may have been deleted while it was read
                    raise CheckpointLost(str(error)) from None
            self._open[folder, step] = found
            self._drop()
            return found[1]

    def _opened(self, folder: Path, step: int) -> Run:
        other = next((run for (of, _), (_, run) in self._open.items() if of == folder), None)
        return Run.open(folder, step=str(step), ema=self._ema) if other is None else other.at(step, self._ema)

    def _drop(self) -> None:
        sizes = [sum(p.nbytes for p in run.model.parameters()) for _, run in self._open.values()]
        while len(sizes) > 1 and sum(sizes) > self._room:
            self._open.popitem(last=False)
            del sizes[0]


@lru_cache
def shared_checkpoints(ema: bool | None) -> Checkpoints:
    """Return the opened checkpoints of this process.

    Args:
        ema: as in `Run.open`.
    """
    return Checkpoints(ema=ema)


def _written(folder: Path, step: int) -> int:
    """Return when a checkpoint was written.

    Raises:
        CheckpointGone: it is not there.
    """
    try:
        return (checkpoint_path(folder, step) / "state.json").stat().st_mtime_ns
    except OSError:
        if checkpoint_path(folder, step).is_dir():
            return 0  # what is wrong with it is said when it is opened
        raise CheckpointGone(folder, step) from None
