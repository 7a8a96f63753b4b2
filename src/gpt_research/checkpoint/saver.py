"""Writing checkpoints: whole or not at all, on a thread, by one process or in parts by several.

A checkpoint is written into a folder beside its place, flushed to the disk and moved. If several
processes hold the model, each writes its part into that folder and reports it in a small file; the
first process waits for all reports, writes `state.json` and moves the folder. So a checkpoint that
has its name is whole.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, flush, part_path, write_json, write_text, written_whole
from gpt_research.checkpoint.files import (
    WHOLE,
    WITHOUT_OPTIMIZER,
    Checkpoint,
    Part,
    checkpoint_path,
    saved_steps,
    tensor_files,
)


def save_checkpoint(
    run: Path,
    checkpoint: Checkpoint,
    keep_last: int,
    keep_every: int = 0,
    part: Part = WHOLE,
    keep: Collection[int] = (),
    abandoned: threading.Event | None = None,
    keep_every_optimizer: bool = True,
) -> Path:
    """Write a checkpoint beside its place, move it there, and drop old ones; return its folder.

    The `keep_last` newest stay, those whose step is a multiple of `keep_every`, without the
    optimizer's state if `keep_every_optimizer` is off, and the steps in `keep`. If the checkpoint
    has several parts, every process calls this with its own, after the first process has called
    `make_room`.

    Raises:
        UserError: the disk is full or refuses; older checkpoints are as they were.
    """
    folder = checkpoint_path(run, checkpoint.step)
    try:
        if part.index > 0:
            _write_one_part(part_path(folder), checkpoint, part)
            return folder
        if part.count == 1:
            make_room(run, checkpoint.step)
        with written_whole(folder, durable=True) as unfinished:
            files = _write_tensors(unfinished, checkpoint, part)
            for index in range(1, part.count):
                files |= _await_report(unfinished, Part(index, part.count), abandoned or threading.Event())
            state = {"step": checkpoint.step, **checkpoint.state, "files": files}
            write_json(unfinished / "state.json", state, durable=True)
            if folder.exists():  # the same step saved again: the old one makes way only now
                shutil.rmtree(folder)
        write_text(folder.parent / "latest", folder.name + "\n", durable=True)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        remedy = "Free some space" if full else "Mend the folder"
        # Nothing is said of a checkpoint that is not there.
        steps = saved_steps(run)
        older = f"the newest checkpoint is that of step {steps[-1]:,}" if steps else "no checkpoint was saved before"
        raise UserError(
            f"Checkpoint {folder} could not be written ({error}), and the run stops: {older}. {remedy} and start again "
            "with the same command."
        ) from None
    for step in saved_steps(run)[:-keep_last]:
        if step in keep:
            continue
        if not keep_every or step % keep_every:
            shutil.rmtree(checkpoint_path(run, step), ignore_errors=True)
        elif not keep_every_optimizer:
            with contextlib.suppress(OSError):  # it is only larger than it need be
                _drop_optimizer(checkpoint_path(run, step))
    return folder


def _drop_optimizer(folder: Path) -> None:
    """Remove the optimizer's state from a checkpoint."""
    files = tensor_files(folder, "optimizer")
    if not files:
        return
    # The list of files is written first, so that a checkpoint that names the state always has it.
    # If this is cut short, the next save removes the files.
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    state["files"] = {name: file for name, file in state["files"].items() if not name.startswith("optimizer")}
    write_json(folder / "state.json", {**state, WITHOUT_OPTIMIZER: True}, durable=True)
    for file in files:
        file.unlink()


def drop_after(run: Path, step: int) -> None:
    """Remove the checkpoints after a step, the newest first.

    Raises:
        UserError: one cannot be removed.
    """
    try:
        # If this is cut short, what is left is the run at an earlier time.
        for later in reversed([saved for saved in saved_steps(run) if saved > step]):
            shutil.rmtree(checkpoint_path(run, later))
        write_text(run / "checkpoints" / "latest", checkpoint_path(run, step).name + "\n", durable=True)
    except OSError as error:
        raise UserError(f"{error.filename} could not be removed ({error.strerror}). Mend the folder.") from None


def make_room(run: Path, step: int) -> None:
    """Make the folder for the parts of a checkpoint; remove unfinished checkpoints."""
    unfinished = part_path(checkpoint_path(run, step))
    for left_over in unfinished.parent.glob(".step_*.part"):
        shutil.rmtree(left_over, ignore_errors=True)
    unfinished.mkdir(parents=True)


def _write_tensors(folder: Path, checkpoint: Checkpoint, part: Part) -> dict[str, Any]:
    """Write the tensors; return size and SHA-256 of each file."""
    files = {}
    frozen = {name: tensor for name, tensor in checkpoint.model.items() if name in checkpoint.frozen}
    kinds = {
        "model": {name: tensor for name, tensor in checkpoint.model.items() if name not in frozen},
        "frozen": frozen if checkpoint.frozen else None,
        "ema": checkpoint.ema,
        "optimizer": checkpoint.optimizer,
    }
    for name, tensors in kinds.items():
        if tensors is None:
            continue
        path = folder / f"{part.file(name)}.safetensors"
        if name == "frozen" and (linked := _link_to_older(path)) is not None:
            files[path.name] = linked
            continue
        rows = {key: checkpoint.first_rows[key] for key in tensors if checkpoint.first_rows.get(key)}
        header = {"first_rows": json.dumps(rows)} if rows else None
        # safetensors refuses tensors that are not contiguous.
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path, header)
        flush(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    return files


def _link_to_older(path: Path) -> dict[str, Any] | None:
    """Give a file of an older checkpoint another name; return its size and SHA-256, or None if no
    checkpoint has one of this name, or it cannot be linked.
    """
    run = path.parents[2]
    for step in saved_steps(run):
        older = checkpoint_path(run, step)
        with contextlib.suppress(OSError, ValueError, KeyError):
            entry: dict[str, Any] = json.loads((older / "state.json").read_text(encoding="utf-8"))["files"][path.name]
            if (older / path.name).stat().st_size == entry["bytes"]:
                os.link(older / path.name, path)
                return entry
    return None


def _write_one_part(folder: Path, checkpoint: Checkpoint, part: Part) -> None:
    """Write a part that is not the first, and report its files or its error."""
    try:
        write_json(_report_path(folder, part), {"files": _write_tensors(folder, checkpoint, part)})
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            write_json(_report_path(folder, part), {"error": str(error)})
        raise


def _await_report(folder: Path, part: Part, abandoned: threading.Event) -> dict[str, Any]:
    """Return the files of another process once it has reported them.

    A process that died never reports; then the run fails, and `abandoned` is set.
    """
    path = _report_path(folder, part)
    # Reports are files, because this thread must not use the process group while training does.
    while not path.is_file():
        if abandoned.wait(0.02):
            raise OSError(f"process {part.index} did not write its part")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    if "error" in report:
        raise OSError(f"process {part.index}: {report['error']}")
    files: dict[str, Any] = report["files"]
    return files


def _report_path(folder: Path, part: Part) -> Path:
    return folder / f"{part.file('written')}.json"


class BackgroundSaver:
    """Writes checkpoints on a thread while training goes on, one at a time."""

    def __init__(
        self,
        run: Path,
        keep_last: int,
        keep_every: int,
        keep_every_optimizer: bool = True,
        part: Part | None = WHOLE,
    ) -> None:
        """Save as `save_checkpoint` does.

        Args:
            part: what this process writes; None if other processes write all of a checkpoint.
        """
        self.run, self.keep_last, self.keep_every, self.part = run, keep_last, keep_every, part
        self.keep_every_optimizer = keep_every_optimizer
        self._thread: threading.Thread | None = None
        self._abandoned = threading.Event()
        self._error: BaseException | None = None
        self._written: tuple[int, Path] | None = None

    @property
    def failed(self) -> bool:
        """True if a checkpoint could not be written; `wait` raises why."""
        return self._error is not None

    def prepare(self, step: int) -> None:
        """Make the folder for the parts of a checkpoint, if this process writes the first of
        several; the others may save when it has returned.
        """
        if self.part is not None and self.part.count > 1 and self.part.index == 0:
            with contextlib.suppress(OSError):  # writing raises it again, on every process
                make_room(self.run, step)

    def save(self, checkpoint: Checkpoint, keep: Collection[int] = ()) -> None:
        """Write `checkpoint`; the one before must be done, and its tensors must not change any
        more.
        """
        assert self._thread is None, "wait comes first"
        self._thread = threading.Thread(target=self._write, args=(checkpoint, keep), name="checkpoint")
        self._thread.start()

    def written(self) -> tuple[int, Path] | None:
        """Return step and folder of the checkpoint that has reached the disk since the last call;
        None while it is being written.
        """
        if self._thread is not None and self._thread.is_alive():
            return None
        written, self._written = self._written, None
        return written

    def join(self, seconds: float | None = None) -> bool:
        """Wait until nothing is being written, at most for some seconds; return whether nothing is.

        Raises no error.
        """
        if self._thread is not None:
            self._thread.join(seconds)
            if not self._thread.is_alive():
                self._thread = None
        return self._thread is None

    def abandon(self) -> None:
        """Wait no more for the parts of other processes, because the run has failed."""
        self._abandoned.set()

    def wait(self) -> None:
        """Wait until the checkpoint is on the disk; raise the error if it could not be written."""
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, checkpoint: Checkpoint, keep: Collection[int]) -> None:
        try:
            assert self.part is not None, "other processes write"
            folder = save_checkpoint(
                self.run,
                checkpoint,
                self.keep_last,
                self.keep_every,
                self.part,
                keep,
                self._abandoned,
                self.keep_every_optimizer,
            )
            self._written = checkpoint.step, folder
        except BaseException as error:  # raised in the training thread, by `wait`
            self._error = error
