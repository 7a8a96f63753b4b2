"""Which checkpoint all ranks load: rank 0 chooses it, and every rank loads exactly that one.

Each rank reads the files for itself. A network file system may show them to one rank later than to
another, and a rank may see another folder under the same name. So a rank compares what it sees with
rank 0, and waits for what it does not see yet.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gpt_research.base.errors import SharedError, UserError
from gpt_research.base.files import file_sha256
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.files import (
    Checkpoint,
    checkpoint_path,
    find_step,
    load_checkpoint,
    load_step,
    resumable_steps,
    saved_steps,
)

SEEN_WITHIN_S = 30.0
"""Seconds after which a rank sees what another one wrote, if they share the folder. By default NFS
keeps the entries of a folder for 30 seconds."""
LOOKS_EVERY_S = 0.2


def load_alike(runtime: Runtime, run: Path, wanted: str = "newest", *, optimizer: bool = True) -> Checkpoint | None:
    """Return the checkpoint that `wanted` names, the same one on all ranks; None if there is no
    checkpoint and the newest is wanted.

    If the newest is damaged on any rank, all ranks pass over it, with a warning on rank 0.

    Args:
        optimizer: False neither checks nor reads the optimizer's part.

    Raises:
        UserError: as `checkpoint.files.load_step` does, or a rank does not see the checkpoint; all
            ranks raise it.
    """
    if runtime.world_size == 1:
        return load_step(run, wanted, optimizer=optimizer)
    steps: list[int] = []

    def choose() -> None:
        there = resumable_steps(run) if optimizer else saved_steps(run)
        steps.extend(reversed(there) if wanted == "newest" else [find_step(run, wanted)])

    runtime.on_first(choose)
    for step in (steps := json.loads(runtime.texts(json.dumps(steps))[0])):
        folder = checkpoint_path(run, step)
        _find(runtime, folder, optimizer=optimizer)
        try:
            return runtime.together(partial(load_checkpoint, folder, optimizer=optimizer))
        except UserError as error:
            if wanted != "newest":
                raise
            if runtime.is_main:
                warnings.warn(f"{error} Falling back to the one before.", stacklevel=2)
    if steps:
        raise SharedError(f"Every checkpoint in {run / 'checkpoints'} is damaged.")
    return None


def _find(runtime: Runtime, folder: Path, *, optimizer: bool) -> None:
    """Return when all ranks see the files that rank 0 sees in a checkpoint's folder.

    Raises:
        UserError: a rank sees none there, or another one than rank 0; all ranks raise it.
    """
    # The hash of state.json stands for the whole checkpoint, because it holds the hashes of all
    # other files.
    state = folder / "state.json"
    expected, complete = json.loads(runtime.texts(json.dumps([_hash(state), _sizes_fit(state, optimizer)]))[0])
    wrong = ""
    if expected and not wait_until(folder, lambda: _hash(state) == expected):
        seen = "another checkpoint lies there" if _hash(state) else "there is none"
        wrong = f"{seen}. The folder must lie on a file system that all hosts share, under the same path."
    runtime.refuse_unless_alike([wrong], f"{folder} is not the checkpoint that rank 0 sees")
    if complete:
        wait_until(folder, lambda: _sizes_fit(state, optimizer))


def wait_until(path: Path, seen: Callable[[], bool]) -> bool:
    """Wait until `seen` returns True, at most as long as a shared file system may take to show what
    another host wrote in `path`; return whether it did.
    """
    deadline = time.monotonic() + SEEN_WITHIN_S
    while not seen():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOKS_EVERY_S)
        # To list a folder makes a network file system ask its server what is in it.
        for folder in (path.parent, path):
            if folder.is_dir():
                os.listdir(folder)
    return True


def _hash(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _sizes_fit(state: Path, optimizer: bool) -> bool:
    """Return whether the files of a checkpoint are as long as its state.json says."""
    try:
        files = json.loads(state.read_text(encoding="utf-8"))["files"]
        return all(
            (state.parent / name).stat().st_size == file["bytes"]
            for name, file in files.items()
            if optimizer or not name.startswith("optimizer")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
