"""`gpt-research inspect`: print the content of a run folder, without loading a weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt_research.config import require_step

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class InspectCommand:
    """Show what a run folder holds, without loading a weight."""

    run: str = ""
    """Run folder, or RUN@STEP for one of its checkpoints. Empty: the newest under runs/."""
    step: str = ""
    """Checkpoint to show: newest, best (lowest validation loss) or its step.
    Default: the one that RUN@STEP names, else the newest."""
    verify: bool = False
    """Check the SHA-256 of every checkpoint's files too."""

    def __post_init__(self) -> None:
        require_step("step", self.step or "newest")


def run(command: InspectCommand) -> int:
    """Print settings, numbers, checkpoints and lineage; return 1 if a checkpoint is damaged."""
    from rich.console import Console
    from rich.table import Table

    from gpt_research.cli.tables import print_table
    from gpt_research.run import named_or_newest
    from gpt_research.training.inspect_run import inspect_run

    chosen = named_or_newest(command.run, command.step)
    folder, summary = chosen.folder, inspect_run(chosen.folder, chosen.step, hashes=command.verify)
    console = Console(highlight=False, soft_wrap=True)
    config, model = summary.config, summary.config.model
    console.print(
        f"{folder}: {model.n_layer} layers, {model.n_head} heads, {model.n_embd} wide, context {model.block_size}, "
        f"vocabulary {model.vocab_size:,}, {config.precision}, seed {config.seed}"
    )
    for name, (value, step) in summary.last.items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
        console.print(f"  {name:<22} {shown} at step {step:,}")
    for change in summary.history:
        console.print(f"  settings               {change}")
    if not summary.checkpoints:
        console.print("No checkpoint yet.")
        return 0
    table = Table("step", "weights", "optimizer", "validation", title="checkpoints")
    table.add_column("MB", justify="right")
    table.add_column("state")
    for row in summary.checkpoints:
        table.add_row(f"{row.step:,}", row.weights, row.optimizer, row.validation, row.megabytes, row.state)
    print_table(table)
    print_lineage(console, summary.lineage)
    return 0 if all(row.whole for row in summary.checkpoints) else 1


def print_lineage(console: Console, lineage: Mapping[str, Any], indent: str = "  ") -> None:
    """Print what the weights come from; the lineage of a run that they began with is indented."""
    for name, value in lineage.items():
        if name == "init_from":
            console.print(f"{indent}began with {_origin(value)}, which had:")
            print_lineage(console, value["lineage"], indent + "  ")
        elif name == "mean_of":
            for each in value["checkpoints"]:
                ema = ", averaged" if value.get("ema") else ""
                found = f"step {each['step']:,} of {each['run']} (weights {each['weights_sha256'][:12]}{ema})"
                console.print(f"{indent}mean of    {found}")
            console.print(f"{indent}the last of which had:")
            print_lineage(console, value["lineage"], indent + "  ")
        elif isinstance(value, Mapping):  # plugins: file and hash
            for part, digest in value.items():
                console.print(f"{indent}{name.removesuffix('s'):<10} {part} {digest}")
        else:
            console.print(f"{indent}{name:<10} {value}")


def _origin(origin: Mapping[str, Any]) -> str:
    """Return in words which weights a run began with."""
    theirs, ours = origin["context"]
    cut = f", its context of {theirs:,} cut to {ours:,}" if ours < theirs else ""
    averaged = ", averaged" if origin.get("ema") else ""
    longer = f", its context of {theirs:,} made {ours:,}" if ours > theirs else ""
    weights = f"weights {origin['weights_sha256'][:12]}{averaged}"
    return f"step {origin['step']:,} of {origin['run']} ({weights}){cut}{longer}"
