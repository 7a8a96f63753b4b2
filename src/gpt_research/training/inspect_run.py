"""What a run folder holds, read without loading a weight."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import SavedTensors, checkpoint_path, saved_steps, tensor_files, verify_checkpoint
from gpt_research.config import TrainConfig
from gpt_research.run import run_config
from gpt_research.training.metrics import read_metrics

LAST_NUMBERS = ("loss", "mean_loss", "val_loss", "val_bits_per_byte", "tokens", "elapsed_s", "peak_memory_gb")


@dataclass(frozen=True)
class CheckpointSummary:
    """Facts about one checkpoint, from its directory and the headers of its files."""

    step: int
    weights: str
    """Number of tensors and of their entries."""
    optimizer: str
    megabytes: str
    state: str
    """complete, verified, or what is wrong."""
    whole: bool


@dataclass(frozen=True)
class RunSummary:
    """A run folder."""

    config: TrainConfig
    last: dict[str, tuple[float, int]]
    """The newest value of each of `LAST_NUMBERS`, with its step."""
    checkpoints: list[CheckpointSummary]
    lineage: dict[str, Any]
    """Of the newest checkpoint."""


def inspect_run(run: Path, *, hashes: bool = False) -> RunSummary:
    """Return a summary of a run folder; with `hashes`, check the SHA-256 of all checkpoint files.

    Raises:
        UserError: the folder is not a run.
    """
    config, lines, steps = run_config(run), read_metrics(run), saved_steps(run)
    last = {}
    for name in LAST_NUMBERS:
        line = next((line for line in reversed(lines) if line.get(name) is not None), None)
        if line is not None:
            last[name] = (line[name], line["step"])
    checkpoints = [_checkpoint(run, step, hashes=hashes) for step in steps]
    return RunSummary(config, last, checkpoints, newest_lineage(run))


def newest_lineage(run: Path) -> dict[str, Any]:
    """Return the lineage of a run's newest checkpoint; empty if there is none, or it has none."""
    steps = saved_steps(run)
    return _state(checkpoint_path(run, steps[-1])).get("lineage", {}) if steps else {}


def _checkpoint(run: Path, step: int, *, hashes: bool) -> CheckpointSummary:
    folder = checkpoint_path(run, step)
    try:
        if hashes:
            verify_checkpoint(folder)
        weights, optimizer = (_count(tensor_files(folder, kind)) for kind in ("model", "optimizer"))
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        whole = bool(_state(folder))
        state = ("verified" if hashes else "complete") if whole else "no state.json"
        return CheckpointSummary(step, weights, optimizer, f"{size:,.1f}", state, whole)
    except (UserError, OSError, SafetensorError) as error:
        return CheckpointSummary(step, "?", "?", "?", f"damaged: {error}", whole=False)


def _count(files: list[Path]) -> str:
    """Count tensors and their entries from the files' headers alone."""
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
