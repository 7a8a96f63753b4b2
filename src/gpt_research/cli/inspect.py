"""`gpt-research inspect`: what a run folder holds, without loading a weight."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.checkpoint.files import SavedTensors, checkpoint_path, saved_steps, tensor_files, verify_checkpoint
from gpt_research.commands import InspectCommand
from gpt_research.config import TrainConfig
from gpt_research.run import newest_run
from gpt_research.training.metrics import read_metrics


def run(command: InspectCommand) -> int:
    """Print what the run is, where it came from and what each checkpoint holds; 1 where one is damaged."""
    run_folder = Path(command.run) if command.run else newest_run(Path("runs"))
    if not (run_folder / "config.yaml").is_file():
        raise UserError(f"{run_folder} is not a run folder (it has no config.yaml).")
    config = read_yaml(TrainConfig, run_folder / "config.yaml")
    console = Console(highlight=False, soft_wrap=True)
    model = config.model
    console.print(
        f"{run_folder}: {model.n_layer} layers, {model.n_head} heads, {model.n_embd} wide, context {model.block_size}, "
        f"vocabulary {model.vocab_size:,}, {config.precision}, seed {config.seed}"
    )
    lines = read_metrics(run_folder)
    for name in ("loss", "val_loss", "val_bits_per_byte"):
        last = next((line for line in reversed(lines) if line.get(name) is not None), None)
        if last:
            console.print(f"  {name:<18} {last[name]:.4f} at step {last['step']:,}")
    steps = saved_steps(run_folder)
    if not steps:
        console.print("No checkpoint yet.")
        return 0
    table = Table("step", "weights", "optimizer", "MB", "state", title="checkpoints")
    damaged = 0
    for step in steps:
        row, whole = _row(checkpoint_path(run_folder, step), verify=command.verify)
        damaged += not whole
        table.add_row(f"{step:,}", *row)
    console.print(table)
    state = _state(checkpoint_path(run_folder, steps[-1]))
    for name, value in state.get("lineage", {}).items():
        console.print(f"  {name:<10} {value}")
    return 1 if damaged else 0


def _row(folder: Path, *, verify: bool) -> tuple[list[str], bool]:
    """Return the table's row of a checkpoint, and whether it is whole as far as was looked."""
    try:
        if verify:
            verify_checkpoint(folder)
        counts = [_count(tensor_files(folder, kind)) for kind in ("model", "optimizer")]
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        said = "verified" if verify else "complete"
        return [*counts, f"{size:,.1f}", said if _state(folder) else "no state.json"], bool(_state(folder))
    except (UserError, OSError, SafetensorError) as error:
        return ["?", "?", "?", f"damaged: {error}"], False


def _count(files: list[Path]) -> str:
    """Count tensors and numbers from the files' headers alone."""
    tensors = SavedTensors(files)
    numbers = sum(math.prod(tensors.shape(name)) for name in tensors)
    return f"{len(tensors)} tensors, {numbers / 1e6:,.2f}M" + (f" in {len(files)} files" if len(files) > 1 else "")


def _state(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
