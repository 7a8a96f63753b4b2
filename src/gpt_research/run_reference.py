"""How a command line names one checkpoint of a run: `RUN@600`, `RUN@best`, `RUN@newest`.

`RUN` alone is the newest checkpoint. A folder whose own name holds an `@` is taken as it is if it
exists. Knows nothing about what a run folder holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError

NEWEST, BEST = "newest", "best"
NAMES = "newest, best, or the step of a checkpoint"


@dataclass(frozen=True)
class RunReference:
    """A run folder and which of its checkpoints is meant."""

    folder: Path
    step: str = NEWEST
    """newest, best (lowest validation loss), or a number."""
    is_named: bool = False
    """True if the user named a checkpoint."""

    def __str__(self) -> str:
        return f"{self.folder}@{self.step}" if self.is_named else str(self.folder)


def names_checkpoint(word: str) -> bool:
    """Return whether a word names a checkpoint: newest, best, or a number."""
    return word in (NEWEST, BEST) or word.isdecimal()


def run_reference(named: str | os.PathLike[str], step: str = "") -> RunReference:
    """Return the run and the checkpoint that a user names.

    Args:
        named: `RUN`, or `RUN@STEP`.
        step: the checkpoint that a setting beside it names; empty if it names none.

    Raises:
        UserError: what follows the `@` names no checkpoint, or `step` names another one.
    """
    text = os.fspath(named)
    folder, at, checkpoint = text.rpartition("@")
    is_folder = not at or os.path.exists(text)
    if not is_folder and not names_checkpoint(checkpoint):
        # Without such a folder it is a run that does not exist, which whoever opens it will say.
        is_folder = not os.path.isdir(folder)
        if not is_folder:
            raise UserError(f'{text}: "{checkpoint}" names no checkpoint. Write behind the @ {NAMES}: {folder}@{BEST}.')
    if is_folder:
        return RunReference(Path(text), step or NEWEST, is_named=bool(step))
    if step and _plain(step) != _plain(checkpoint):
        raise UserError(f"step is {step}, but {text} names the checkpoint {checkpoint}. Give only one of them.")
    return RunReference(Path(folder), _plain(checkpoint), is_named=True)


def _plain(checkpoint: str) -> str:
    return str(int(checkpoint)) if checkpoint.isdecimal() else checkpoint
