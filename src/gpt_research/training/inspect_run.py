"""What a run folder holds, read without loading a weight."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import (
    SavedTensors,
    checkpoint_path,
    find_step,
    has_optimizer,
    lineage_of,
    saved_steps,
    tensor_files,
    validation_loss,
    verify_checkpoint,
    weight_files,
)
from gpt_research.config import TrainConfig
from gpt_research.run_reference import RunReference
from gpt_research.settings_history import differences, has_history, in_words, periods, run_config
from gpt_research.training.metrics import read_metrics

LAST_NUMBERS = (
    "loss", "mean_loss", "val_loss", "val_bits_per_byte", "val_loss_ema", "val_bits_per_byte_ema", "tokens",
    "elapsed_s", "peak_memory_gb",
)  # fmt: skip


@dataclass(frozen=True)
class CheckpointSummary:
    """Facts about one checkpoint, from its directory and the headers of its files."""

    step: int
    weights: str
    """Number of tensors and of their entries."""
    optimizer: str
    validation: str
    """The loss by which the evaluation at this step was judged; empty if there was none."""
    megabytes: str
    state: str
    """complete, verified, or what is wrong."""
    whole: bool


@dataclass(frozen=True)
class RunSummary:
    """A run folder."""

    config: TrainConfig
    """The settings with which the step that is shown was taken."""
    step: int | None
    """The step that is shown, the newest by default; None if nothing is saved."""
    history: list[str]
    """Settings that changed on the way, in words."""
    last: dict[str, tuple[float, int]]
    """The newest value of each of `LAST_NUMBERS`, with its step."""
    checkpoints: list[CheckpointSummary]
    lineage: dict[str, Any]
    """Of the checkpoint that is shown."""


def inspect_run(run: Path, wanted: str = "newest", *, hashes: bool = False) -> RunSummary:
    """Return a summary of a run folder; with `hashes`, check the SHA-256 of all checkpoint files.

    Args:
        wanted: the checkpoint to show: newest, best or its step.

    Raises:
        UserError: the folder is not a run, or has no such checkpoint.
    """
    config, lines, steps = run_config(run), read_metrics(run), saved_steps(run)
    step = find_step(run, wanted) if steps or wanted != "newest" else None
    if step is not None and wanted != "newest":
        config = run_config(run, step)
        lines, steps = [line for line in lines if line["step"] <= step], [step]
    last = {}
    for name in LAST_NUMBERS:
        line = next((line for line in reversed(lines) if line.get(name) is not None), None)
        if line is not None:
            last[name] = (line[name], line["step"])
    checkpoints = [_checkpoint(run, step, hashes=hashes) for step in steps]
    lineage = lineage_of(_state(checkpoint_path(run, step))) if step is not None else {}
    return RunSummary(config, step, _history(run), last, checkpoints, lineage)


@dataclass(frozen=True)
class Training:
    """How a run was trained, up to one of its checkpoints or so far."""

    config: TrainConfig
    metrics: list[dict[str, Any]]
    """The lines of its metrics.jsonl."""
    lineage: dict[str, Any]
    """Of the checkpoint; empty if there is none, or it has none."""


def training_of(reference: RunReference) -> Training:
    """Return how a run was trained, up to the checkpoint that is named; if none is, so far.

    Raises:
        UserError: the folder is not a run, or has no such checkpoint.
    """
    run, steps = reference.folder, saved_steps(reference.folder)
    step = find_step(run, reference.step) if reference.is_named or steps else None
    lineage = lineage_of(_state(checkpoint_path(run, step))) if step is not None else {}
    if not reference.is_named:
        return Training(run_config(run), read_metrics(run), lineage)
    return Training(run_config(run, step), [line for line in read_metrics(run) if line["step"] <= step], lineage)


def _history(run: Path) -> list[str]:
    if not has_history(run):
        return ["its history is not known (version 0.1 kept none): config.yaml is taken to hold for all steps"]
    first, *later = periods(run)
    found = ["those before the first change below are taken from config.yaml of version 0.1"] if not first.data else []
    for before, after in pairwise([first, *later]):
        changes = [change for change in differences(before.config, after.config) if change[0] != "out"]
        if before.data not in ("", after.data):
            changes.append(("data (content)", before.data[:12], after.data[:12]))
        if changes:
            found.append(f"from step {after.from_step + 1:,}: {in_words(changes)}")
    return found


def _checkpoint(run: Path, step: int, *, hashes: bool) -> CheckpointSummary:
    folder = checkpoint_path(run, step)
    try:
        if hashes:
            verify_checkpoint(folder, optimizer=has_optimizer(folder))
        weights, optimizer = (_count(files) for files in (weight_files(folder), tensor_files(folder, "optimizer")))
        weights += ", and their average" if tensor_files(folder, "ema") else ""
        loss = validation_loss(run, step)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        whole = bool(_state(folder))
        state = ("verified" if hashes else "complete") if whole else "no state.json"
        judged = "" if loss is None else f"{loss:.4f}"
        return CheckpointSummary(step, weights, optimizer, judged, f"{size:,.1f}", state, whole)
    except (UserError, OSError, SafetensorError) as error:
        return CheckpointSummary(step, "?", "?", "", "?", f"damaged: {error}", whole=False)


def _count(files: list[Path]) -> str:
    """Count tensors and their entries from the files' headers alone."""
    if not files:
        return "not kept"
    tensors = SavedTensors(files)
    entries = sum(math.prod(tensors.shape(name)) for name in tensors)
    return f"{len(tensors)} tensors, {entries / 1e6:,.2f}M" + (f" in {len(files)} files" if len(files) > 1 else "")


def _state(folder: Path) -> dict[str, Any]:
    """Return the content of state.json, or an empty dictionary if it is missing or damaged."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
