"""Checkpoints: written whole or not at all, verified before a tensor is used.

    <run>/checkpoints/step_00001000/
        model.safetensors        weights, by the model's own names, without the padding rows
        optimizer.safetensors    AdamW's moments, as `<moment>/<parameter>`
        state.json               step, scaler, fingerprints, and the size and SHA-256 of the other files
    <run>/checkpoints/latest     the newest one's name, moved only when that one is on the disk

Where the model is sharded over N processes, each writes the rows it holds, `model-00001-of-N.safetensors` and so on,
with the number of the first row of each tensor in the file's header; any number of processes can read them again.

A checkpoint is written into a hidden folder beside its place, flushed to disk and renamed. The newest is the one
with the highest step, whatever the clock says. Nothing here is a pickle.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, flush

STEP_NAME = re.compile(r"step_(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved at one step, or what one process holds of it."""

    step: int
    """Optimizer steps taken."""
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: dict[str, Any]
    """Small plain values: scaler, fingerprints."""
    first_rows: Mapping[str, int] = field(default_factory=dict)
    """Where the model is sharded: the row of the whole tensor that each one here begins with, 0 if not named."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """Of one that was read: bytes and SHA-256 of each of its files, by name."""


@dataclass(frozen=True)
class Shard:
    """Which part of a checkpoint a process writes."""

    index: int = 0
    count: int = 1

    def file(self, name: str) -> str:
        return name if self.count == 1 else f"{name}-{self.index + 1:05d}-of-{self.count:05d}"

    @property
    def report(self) -> str:
        """Name of the file in which a process tells the first one what it wrote, or what kept it from writing."""
        return f"{self.file('written')}.json"


class SavedTensors(Mapping[str, torch.Tensor]):
    """The tensors of one or several safetensors files, read when asked for; parts are joined along their rows."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts: dict[str, list[tuple[int, Any]]] = {}
        for path in paths:
            file = safe_open(path, framework="pt")
            first_rows = json.loads((file.metadata() or {}).get("first_rows", "{}"))
            for name in file.keys():  # noqa: SIM118  it is no mapping
                self._parts.setdefault(name, []).append((first_rows.get(name, 0), file))
        for parts in self._parts.values():
            parts.sort(key=lambda part: part[0])

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensors = [file.get_tensor(name) for _, file in self._parts[name]]
        return torch.cat(tensors) if len(tensors) > 1 else tensors[0]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a whole tensor without reading it."""
        shapes = [file.get_slice(name).get_shape() for _, file in self._parts[name]]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes[0] else ()

    def rows(self, name: str, begin: int, end: int) -> torch.Tensor:
        """Return the rows from `begin` to before `end`, reading no others."""
        found = []
        for first, file in self._parts[name]:
            part = file.get_slice(name)
            last = first + part.get_shape()[0]
            if begin < last and first < end:
                found.append(part[max(begin, first) - first : min(end, last) - first])
        return torch.cat(found) if len(found) > 1 else found[0]


def checkpoint_path(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:08d}"


def saved_steps(run: Path) -> list[int]:
    """Return the steps that have a checkpoint, lowest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [STEP_NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(int(match[1]) for match in found if match)


def save(run: Path, checkpoint: Checkpoint, keep_last: int, keep_every: int = 0, shard: Shard = Shard()) -> Path:
    """Write a checkpoint beside its place, move it there, and drop old ones.

    The `keep_last` newest stay, and those whose step is a multiple of `keep_every`. With a `shard` every process
    calls this for its part, after the first one has called `clear`; the first one waits for all and moves it.

    Raises:
        UserError: the disk is full or refuses; older checkpoints are as they were.
    """
    place = checkpoint_path(run, checkpoint.step)
    part = _part(place)
    try:
        if shard.count == 1:
            clear(run, checkpoint.step)
        files = _write_files(part, checkpoint, shard)
        if shard.index > 0:
            _report(part, shard, {"files": files})
            return place
        for other in range(1, shard.count):
            files |= _await_report(part, Shard(other, shard.count))
        _write_state(part, {"step": checkpoint.step, **checkpoint.state, "files": files})
        if place.exists():  # the same step saved again: the old one makes way only now
            shutil.rmtree(place)
        part.rename(place)
        flush(place.parent)
        _point_latest_at(place)
    except (OSError, SafetensorError) as error:
        if shard.index > 0:
            with contextlib.suppress(OSError):
                _report(part, shard, {"error": str(error)})
        else:
            shutil.rmtree(part, ignore_errors=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        remedy = "Free some space" if full else "Mend the folder"
        raise UserError(
            f"Checkpoint {place} could not be written ({error}). {remedy} and start again with the same command: "
            "the older checkpoints are whole."
        ) from None
    for step in saved_steps(run)[:-keep_last]:
        if not keep_every or step % keep_every:
            shutil.rmtree(checkpoint_path(run, step), ignore_errors=True)
    return place


def clear(run: Path, step: int) -> None:
    """Make room for the parts of a checkpoint, and drop what an earlier process left half written."""
    part = _part(checkpoint_path(run, step))
    for left_over in part.parent.glob(".step_*.part"):
        shutil.rmtree(left_over, ignore_errors=True)
    part.mkdir(parents=True)


def _part(place: Path) -> Path:
    return place.with_name(f".{place.name}.part")


def _report(part: Path, shard: Shard, said: dict[str, Any]) -> None:
    path = part / shard.report
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(said), encoding="utf-8")
    beside.replace(path)


def _await_report(part: Path, shard: Shard) -> dict[str, Any]:
    """Return the files that another process wrote, once it says so.

    A process that died says nothing; then `torchrun` ends this one too.
    """
    path = part / shard.report
    while not path.is_file():
        time.sleep(0.02)
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    if "error" in said:
        raise OSError(f"process {shard.index}: {said['error']}")
    files: dict[str, Any] = said["files"]
    return files


def _point_latest_at(place: Path) -> None:
    part = place.parent / "latest.part"
    part.write_text(place.name + "\n", encoding="utf-8")
    flush(part)
    part.replace(place.parent / "latest")


class BackgroundSaver:
    """Writes checkpoints on a thread while training goes on, one at a time."""

    def __init__(
        self,
        run: Path,
        keep_last: int,
        keep_every: int,
        shard: Shard = Shard(),
        barrier: Callable[[], None] = lambda: None,
    ) -> None:
        """Save as `save` does; where processes write shards, `barrier` lets them begin together."""
        self.run, self.keep_last, self.keep_every = run, keep_last, keep_every
        self.shard, self.barrier = shard, barrier
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, checkpoint: Checkpoint) -> None:
        """Begin to write `checkpoint`, whose tensors nobody may change any more, after the one before is done."""
        self.wait()
        if self.shard.count > 1:
            if self.shard.index == 0:
                with contextlib.suppress(OSError):  # each process finds out when it writes
                    clear(self.run, checkpoint.step)
            self.barrier()
        self._thread = threading.Thread(target=self._write, args=(checkpoint,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when what was begun is on the disk; raise what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, checkpoint: Checkpoint) -> None:
        try:
            save(self.run, checkpoint, self.keep_last, self.keep_every, self.shard)
        except BaseException as error:  # handed to the training thread by `wait`
            self._error = error


def _write_files(folder: Path, checkpoint: Checkpoint, shard: Shard) -> dict[str, Any]:
    """Write the tensors; return size and SHA-256 of each file."""
    files = {}
    for name, tensors in (("model", checkpoint.model), ("optimizer", checkpoint.optimizer)):
        path = folder / f"{shard.file(name)}.safetensors"
        rows = {key: checkpoint.first_rows[key] for key in tensors if checkpoint.first_rows.get(key)}
        header = {"first_rows": json.dumps(rows)} if rows else None
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path, header)
        flush(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    return files


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    path = folder / "state.json"
    path.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    flush(path)
    flush(folder)


def load_newest(run: Path, *, optimizer: bool = True) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None where there is none at all.

    A damaged one is passed over with a warning. Without `optimizer`, that part is neither checked nor read.

    Raises:
        UserError: there are checkpoints and every one is damaged.
    """
    steps = saved_steps(run)
    for step in reversed(steps):
        try:
            return load(checkpoint_path(run, step), optimizer=optimizer)
        except UserError as error:
            warnings.warn(f"{error} Falling back to the one before.", stacklevel=2)
    if steps:
        raise UserError(f"Every checkpoint in {run / 'checkpoints'} is damaged.")
    return None


def load(folder: Path, *, optimizer: bool = True) -> Checkpoint:
    """Open one checkpoint after checking the size and SHA-256 of each of its files.

    Raises:
        UserError: a file is missing, cut or changed.
    """
    state = verify(folder, optimizer=optimizer)
    try:
        model = SavedTensors(tensor_files(folder, "model"))
        moments = SavedTensors(tensor_files(folder, "optimizer") if optimizer else [])
    except (OSError, SafetensorError) as error:
        raise UserError(f"Checkpoint {folder} is damaged: {error}.") from None
    step, files = state.pop("step"), state.pop("files")
    return Checkpoint(step, model, moments, state, files=files)


def tensor_files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a checkpoint that hold its `model` or its `optimizer`."""
    return sorted(folder.glob(f"{kind}*.safetensors"))


def verify(folder: Path, *, optimizer: bool = True) -> dict[str, Any]:
    """Check a checkpoint's files against `state.json` and return what that says."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        files = state["files"]
        count = max(1, len(files) // 2)
        for shard in (Shard(index, count) for index in range(count)):
            for kind in ("model", "optimizer") if optimizer else ("model",):
                name = f"{shard.file(kind)}.safetensors"
                path, expected = folder / name, files[name]
                if path.stat().st_size != expected["bytes"]:
                    raise UserError(
                        f"Checkpoint {folder} is damaged: {name} has {path.stat().st_size} bytes, "
                        f"not {expected['bytes']}."
                    )
                if file_sha256(path) != expected["sha256"]:
                    raise UserError(f"Checkpoint {folder} is damaged: the SHA-256 of {name} differs.")
        if not isinstance(state["step"], int):
            raise TypeError("step")
    except OSError as error:
        raise UserError(f"Checkpoint {folder} is damaged: {error.filename}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"Checkpoint {folder} is damaged: state.json: {error!r}.") from None
    return state
