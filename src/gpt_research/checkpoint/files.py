"""Checkpoints on the disk: their names, their files, and reading them after a check of every byte.

    <run>/checkpoints/step_00001000/
        model.safetensors      weights, by the model's own names, without the padding rows
        frozen.safetensors     weights that the run never changes, beside adapters: one file on the
                               disk, which has a name in each checkpoint (a hard link)
        ema.safetensors        the moving average of the weights, if the run has one
        optimizer.safetensors  the optimizer's state, as `<moment>/<parameter>`
        state.json             step, scaler, fingerprints; size and SHA-256 of the other files
    <run>/checkpoints/latest   the name of the newest one

If the model is sharded over N processes, each process writes the rows it holds:
`model-00001-of-N.safetensors` and so on, with the number of the first row of each tensor in the
file's header. Any number of processes can read them again.

An older checkpoint may have been kept without the optimizer's state.

The newest checkpoint is the one with the highest step, whatever the clock says. Nothing here is a
pickle. Knows nothing about models, optimizers or tokenizers.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256

STEP_NAME = re.compile(r"step_(\d{8,})")
WITHOUT_OPTIMIZER = "without_optimizer"
"""Entry in the state.json of a checkpoint that was kept without the optimizer's state."""


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
    """If the model is sharded: the first row of each tensor in the whole one; 0 if not named."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """If the checkpoint was read: bytes and SHA-256 of each of its files, by name."""
    ema: Mapping[str, torch.Tensor] | None = None
    """The averaged weights, by the names of the weights; None if the run has no average."""
    frozen: Collection[str] = ()
    """When it is written: names of the weights that no step changes."""

    @property
    def lineage(self) -> dict[str, Any]:
        """Fingerprints of everything that the weights come from."""
        return lineage_of(self.state)

    def weights(self, averaged: bool | None, where: str) -> SavedWeights:
        """Return the weights of a checkpoint that was read.

        Args:
            averaged: True for the averaged ones, False for those of the step; None for the averaged
                ones if there are any.
            where: the checkpoint's place, for errors.

        Raises:
            UserError: there are no averaged ones.
        """
        if averaged and self.ema is None:
            raise UserError(f"{where} has no averaged weights. Leave --ema out, or train with --ema_decay.")
        if averaged is False or self.ema is None:
            return SavedWeights(self.model, self.weights_sha256, averaged=False)
        return SavedWeights(self.ema, self._sha256_of("ema"), averaged=True)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the file of the step's weights; of several files, that of their hashes."""
        return self._sha256_of("model", "frozen")

    def _sha256_of(self, *kinds: str) -> str:
        hashes = [self.files[name]["sha256"] for name in sorted(self.files) if name.startswith(kinds)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@dataclass(frozen=True)
class SavedWeights:
    """The weights of a checkpoint that a command takes."""

    tensors: Mapping[str, torch.Tensor]
    sha256: str
    """Of their file; of several parts, that of their hashes in order."""
    averaged: bool
    """True for the moving average over steps."""


def lineage_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lineage in the content of a state.json."""
    # An import has no lineage, because it was not trained here; its state has these two entries
    # instead.
    imported = {name: state[name] for name in ("tokenizer", "imported_from") if name in state}
    return dict(state.get("lineage") or imported)


@dataclass(frozen=True)
class Part:
    """Which part of a checkpoint a process writes."""

    index: int = 0
    count: int = 1

    def file(self, name: str) -> str:
        """Return the name of this part's file, without its ending."""
        return name if self.count == 1 else f"{name}-{self.index + 1:05d}-of-{self.count:05d}"


WHOLE = Part()
"""The one part of a checkpoint that one process writes."""


class SavedTensors(Mapping[str, torch.Tensor]):
    """The tensors of one or several safetensors files, read on access; parts are joined by rows."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts: dict[str, list[tuple[int, Any]]] = {}
        for path in paths:
            file = safe_open(path, framework="pt")
            first_rows = json.loads((file.metadata() or {}).get("first_rows", "{}"))
            for name in file.keys():  # noqa: SIM118  the file is not a mapping
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
        pieces = []
        for first, file in self._parts[name]:
            rows = file.get_slice(name)
            last = first + rows.get_shape()[0]
            if begin < last and first < end:
                pieces.append(rows[max(begin, first) - first : min(end, last) - first])
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the folder of a run's checkpoint."""
    return run / "checkpoints" / f"step_{step:08d}"


def saved_steps(run: Path) -> list[int]:
    """Return the steps that have a checkpoint, lowest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    matches = [STEP_NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(int(match[1]) for match in matches if match)


def has_optimizer(folder: Path) -> bool:
    """Return whether training can go on from a checkpoint: older ones may be kept without the
    optimizer's state. A damaged one counts as one with it: loading it then says what is damaged.
    """
    try:
        return WITHOUT_OPTIMIZER not in json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return True


def resumable_steps(run: Path) -> list[int]:
    """Return the steps from whose checkpoint training can go on, lowest first.

    Raises:
        UserError: there are checkpoints, and all were kept without the optimizer's state.
    """
    steps = saved_steps(run)
    found = [step for step in steps if has_optimizer(checkpoint_path(run, step))]
    if steps and not found:
        raise _without_optimizer(checkpoint_path(run, steps[-1]))
    return found


def _without_optimizer(folder: Path) -> UserError:
    run, step = folder.parent.parent, int(folder.name.removeprefix("step_"))
    others = [other for other in saved_steps(run) if has_optimizer(checkpoint_path(run, other))]
    go_on = f"go on from one that has it ({', '.join(f'{other:,}' for other in others)}), or " if others else ""
    return UserError(
        f"The checkpoint {folder} was kept without the optimizer's state, so training cannot go on from it: {go_on}"
        f"begin a new run with its weights (--init_from {run} --step {step})."
    )


def find_step(run: Path, wanted: str) -> int:
    """Return the saved step that `wanted` names: newest, best (lowest validation loss), or a
    number.

    Raises:
        UserError: the run has no such checkpoint; the message lists those that it has.
    """
    steps = saved_steps(run)
    if not steps:
        raise UserError(f"{run} has no checkpoint yet. Let training reach its first save.")
    listed = ", ".join(f"{step:,}" for step in steps)
    if wanted == "newest":
        return steps[-1]
    if wanted == "best":
        judged = {step: loss for step in steps if (loss := validation_loss(run, step)) is not None}
        if not judged:
            raise UserError(
                f"No checkpoint of {run} was evaluated when it was saved, so none is the best. Name one by its step "
                f"({listed}), and train with --keep_best."
            )
        return min(judged, key=lambda step: (judged[step], step))
    if int(wanted) not in steps:
        raise UserError(f"{run} has no checkpoint of step {int(wanted):,}. It has those of the steps {listed}.")
    return int(wanted)


def validation_loss(run: Path, step: int) -> float | None:
    """Return the loss by which the evaluation at a saved step was judged; None if there was
    none.
    """
    try:
        state = json.loads((checkpoint_path(run, step) / "state.json").read_text(encoding="utf-8"))
        newest = state["validation"]["newest"]
        return float(newest["judged"]) if newest["step"] == step else None
    except (OSError, ValueError, KeyError, TypeError):  # of version 0.1, or damaged
        return None


def load_step(run: Path, wanted: str = "newest", *, optimizer: bool = True) -> Checkpoint | None:
    """Return the checkpoint that `wanted` names, as `find_step` finds it; None if there is none at
    all and the newest is wanted.

    The newest is passed over with a warning if it is damaged; a checkpoint that is named is not.

    Raises:
        UserError: as `find_step` and `load_newest` do.
    """
    if wanted == "newest":
        return load_newest(run, optimizer=optimizer)
    return load_checkpoint(checkpoint_path(run, find_step(run, wanted)), optimizer=optimizer)


def load_newest(run: Path, *, optimizer: bool = True, last_step: int | None = None) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None if there is no checkpoint.

    A damaged one is passed over with a warning, one without the optimizer's state silently.

    Args:
        optimizer: False neither checks nor reads the optimizer's part, and takes a checkpoint
            without it too.
        last_step: only checkpoints up to this step count.

    Raises:
        UserError: there are checkpoints and every one is damaged, or without the optimizer's state.
    """
    there = resumable_steps(run) if optimizer else saved_steps(run)
    steps = [step for step in there if last_step is None or step <= last_step]
    for step in reversed(steps):
        try:
            return load_checkpoint(checkpoint_path(run, step), optimizer=optimizer)
        except UserError as error:
            warnings.warn(f"{error} Falling back to the one before.", stacklevel=2)
    if steps:
        up_to = "" if last_step is None else f" up to step {last_step}"
        raise UserError(f"Every checkpoint in {run / 'checkpoints'}{up_to} is damaged.")
    return None


def load_checkpoint(folder: Path, *, optimizer: bool = True) -> Checkpoint:
    """Open one checkpoint after checking the size and SHA-256 of each of its files.

    Raises:
        UserError: a file is missing, cut or changed; or the optimizer's state was not kept.
    """
    state = verify_checkpoint(folder, optimizer=optimizer)
    try:
        model = SavedTensors(weight_files(folder))
        moments = SavedTensors(tensor_files(folder, "optimizer") if optimizer else [])
        ema = SavedTensors(files) if (files := tensor_files(folder, "ema")) else None
    except (OSError, SafetensorError) as error:
        raise UserError(f"Checkpoint {folder} is damaged: {error}.") from None
    step, hashes = state.pop("step"), state.pop("files")
    return Checkpoint(step, model, moments, state, files=hashes, ema=ema)


def tensor_files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a checkpoint that hold its `model`, its `ema` or its `optimizer`."""
    return sorted(folder.glob(f"{kind}*.safetensors"))


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint that hold the weights of its step."""
    return tensor_files(folder, "model") + tensor_files(folder, "frozen")


def verify_checkpoint(folder: Path, *, optimizer: bool = True) -> dict[str, Any]:
    """Check a checkpoint's files against its `state.json` and return the content of that.

    Raises:
        UserError: a file is missing, cut or changed; or the optimizer's state was not kept.
    """
    if optimizer and not has_optimizer(folder):
        raise _without_optimizer(folder)
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        files = state["files"]
        count = max(1, sum(name.startswith("model") for name in files))
        others = [kind for kind in ("frozen", "ema") if any(name.startswith(kind) for name in files)]
        kinds = ["model", *others, *(["optimizer"] if optimizer else [])]
        for index in range(count):
            for kind in kinds:
                name = f"{Part(index, count).file(kind)}.safetensors"
                _check_file(folder, name, files[name])
        if not isinstance(state["step"], int):
            raise TypeError("step")
    except OSError as error:
        raise UserError(f"Checkpoint {folder} is damaged: {error.filename}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"Checkpoint {folder} is damaged: state.json: {error!r}.") from None
    return state


def _check_file(folder: Path, name: str, expected: Mapping[str, Any]) -> None:
    size = (folder / name).stat().st_size
    if size != expected["bytes"]:
        raise UserError(f"Checkpoint {folder} is damaged: {name} has {size} bytes, not {expected['bytes']}.")
    if file_sha256(folder / name) != expected["sha256"]:
        raise UserError(f"Checkpoint {folder} is damaged: the SHA-256 of {name} differs.")
