"""Checkpoints: written whole or not at all, verified before a tensor is used.

    <run>/checkpoints/step_00001000/
        model.safetensors        weights, by the model's own names, without the padding rows
        optimizer.safetensors    AdamW's moments, as `<moment>/<parameter>`
        state.json               step, scaler, fingerprints, and the size and SHA-256 of the other files
    <run>/checkpoints/latest     the newest one's name, moved only when that one is on the disk

A checkpoint is written into a hidden folder beside its place, flushed to disk and renamed. The newest is the one
with the highest step, whatever the clock says. Nothing here is a pickle.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.data.shards import file_sha256
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.errors import UserError
from gpt_research.model import GPT
from gpt_research.settings import read_yaml

STEP_NAME = re.compile(r"step_(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved at one step."""

    step: int
    """Optimizer steps taken."""
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]
    """Small plain values: scaler, fingerprints."""


def checkpoint_path(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:08d}"


def saved_steps(run: Path) -> list[int]:
    """Return the steps that have a checkpoint, lowest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [STEP_NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(int(match[1]) for match in found if match)


def save(run: Path, checkpoint: Checkpoint, keep_last: int, keep_every: int = 0) -> Path:
    """Write a checkpoint beside its place, move it there, and drop old ones.

    The `keep_last` newest stay, and those whose step is a multiple of `keep_every`.

    Raises:
        UserError: the disk is full or refuses; older checkpoints are as they were.
    """
    place = checkpoint_path(run, checkpoint.step)
    part = place.with_name(f".{place.name}.part")
    try:
        for left_over in place.parent.glob(".step_*.part"):
            shutil.rmtree(left_over, ignore_errors=True)
        part.mkdir(parents=True)
        _write_files(part, checkpoint)
        if place.exists():  # the same step saved again: the old one makes way only now
            shutil.rmtree(place)
        part.rename(place)
        _flush(place.parent)
        _point_latest_at(place)
    except (OSError, SafetensorError) as error:
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


def _point_latest_at(place: Path) -> None:
    part = place.parent / "latest.part"
    part.write_text(place.name + "\n", encoding="utf-8")
    _flush(part)
    part.replace(place.parent / "latest")


class BackgroundSaver:
    """Writes checkpoints on a thread while training goes on, one at a time."""

    def __init__(self, run: Path, keep_last: int, keep_every: int) -> None:
        self.run, self.keep_last, self.keep_every = run, keep_last, keep_every
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, checkpoint: Checkpoint) -> None:
        """Begin to write `checkpoint`, whose tensors nobody may change any more, after the one before is done."""
        self.wait()
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
            save(self.run, checkpoint, self.keep_last, self.keep_every)
        except BaseException as error:  # handed to the training thread by `wait`
            self._error = error


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    files = {}
    for name, tensors in (("model", checkpoint.model), ("optimizer", checkpoint.optimizer)):
        path = folder / f"{name}.safetensors"
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
        _flush(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    state = {"step": checkpoint.step, **checkpoint.state, "files": files}
    path = folder / "state.json"
    path.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do not flush folders
            raise
    finally:
        os.close(descriptor)


def load_newest(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None where there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        UserError: there are checkpoints and every one is damaged.
    """
    steps = saved_steps(run)
    for step in reversed(steps):
        try:
            return load(checkpoint_path(run, step))
        except UserError as error:
            warnings.warn(f"{error} Falling back to the one before.", stacklevel=2)
    if steps:
        raise UserError(f"Every checkpoint in {run / 'checkpoints'} is damaged.")
    return None


def load(folder: Path) -> Checkpoint:
    """Read one checkpoint after checking the size and SHA-256 of each of its files.

    Raises:
        UserError: a file is missing, cut or changed.
    """
    state = verify(folder)
    try:
        model = safetensors.torch.load_file(folder / "model.safetensors")
        optimizer = safetensors.torch.load_file(folder / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise UserError(f"Checkpoint {folder} is damaged: {error}.") from None
    step = state.pop("step")
    state.pop("files")
    return Checkpoint(step, model, optimizer, state)


def verify(folder: Path) -> dict[str, Any]:
    """Check a checkpoint's files against `state.json` and return what that says."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        files = state["files"]
        for name in ("model.safetensors", "optimizer.safetensors"):
            path, expected = folder / name, files[name]
            if path.stat().st_size != expected["bytes"]:
                raise UserError(
                    f"Checkpoint {folder} is damaged: {name} has {path.stat().st_size} bytes, not {expected['bytes']}."
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


def model_tensors(model: GPT) -> dict[str, torch.Tensor]:
    """Return the weights to save, on the CPU: tied ones once, padding rows cut off."""
    config = model.config
    tensors = {name: p.detach() for name, p in model.named_parameters()}  # a shared parameter comes once
    for name in ("token_embedding.weight", "head.weight"):
        if name in tensors:
            tensors[name] = tensors[name][: config.vocab_size]
    return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}


def restore_model(model: GPT, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Put saved weights into a model.

    Raises:
        UserError: a name is missing, unknown or of another shape.
    """
    parameters = dict(model.named_parameters())
    if parameters.keys() != tensors.keys():
        differ = ", ".join(sorted(parameters.keys() ^ tensors.keys())[:3])
        raise UserError(f"{where} is of another model than its config: the names differ ({differ}, ...).")
    with torch.no_grad():
        for name, parameter in parameters.items():
            rows: torch.Tensor = parameter
            if name in ("token_embedding.weight", "head.weight"):
                rows = parameter[: model.config.vocab_size]
            if rows.shape != tensors[name].shape:
                raise UserError(
                    f"{where}: {name} has shape {tuple(tensors[name].shape)}, the model {tuple(rows.shape)}."
                )
            rows.copy_(tensors[name])


def load_model(run: Path | str, device: torch.device | str = "cpu") -> tuple[GPT, Tokenizer]:
    """Return the model of a run's newest whole checkpoint, ready to generate, and its tokenizer.

    Raises:
        UserError: no such run, nothing saved yet, or damage.
    """
    run = Path(run)
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run folder (it has no config.yaml). Name the folder that training wrote.")
    checkpoint = load_newest(run)
    if checkpoint is None:
        raise UserError(f"{run} has no checkpoint yet. Let training reach its first save.")
    tokenizer = Tokenizer.load(run / "tokenizer.json")
    config: GPTConfig = read_yaml(TrainConfig, run / "config.yaml").model
    saved_with = checkpoint.state.get("lineage", {}).get("tokenizer")
    if saved_with not in (None, tokenizer.fingerprint):
        raise UserError(
            f"{run / 'tokenizer.json'} is not the tokenizer this model was trained with "
            f"({tokenizer.fingerprint[:12]}, not {saved_with[:12]}). Put the right one back."
        )
    model = GPT(config)
    restore_model(model, checkpoint.model, str(checkpoint_path(run, checkpoint.step)))
    return model.to(device).eval(), tokenizer


def newest_run(root: Path) -> Path:
    """Return the run folder under `root` that was written to last.

    Raises:
        UserError: there is none with a checkpoint.
    """
    runs = [path.parent for path in root.glob("*/config.yaml") if saved_steps(path.parent)]
    if not runs:
        raise UserError(f'No run with a checkpoint under {root}. Run "python trainer.py" first, or name a run folder.')
    with contextlib.suppress(OSError):
        return max(runs, key=lambda run: (run / "metrics.jsonl").stat().st_mtime)
    return runs[-1]
