"""`gpt-research inspect`: print the content of a run folder, without loading a weight."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InspectCommand:
    """Show what a run folder holds, without loading a weight."""

    run: str = ""
    """Run folder. Empty: the newest under runs/."""
    verify: bool = False
    """Check the SHA-256 of every checkpoint's files too."""


def run(command: InspectCommand) -> int:
    """Print settings, numbers, checkpoints and lineage; return 1 if a checkpoint is damaged."""
    from rich.console import Console
    from rich.table import Table

    from gpt_research.cli.tables import print_table
    from gpt_research.run import named_or_newest
    from gpt_research.training.inspect_run import inspect_run

    folder = named_or_newest(command.run)
    summary = inspect_run(folder, hashes=command.verify)
    console = Console(highlight=False, soft_wrap=True)
    config, model = summary.config, summary.config.model
    console.print(
        f"{folder}: {model.n_layer} layers, {model.n_head} heads, {model.n_embd} wide, context {model.block_size}, "
        f"vocabulary {model.vocab_size:,}, {config.precision}, seed {config.seed}"
    )
    for name, (value, step) in summary.last.items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
        console.print(f"  {name:<18} {shown} at step {step:,}")
    if not summary.checkpoints:
        console.print("No checkpoint yet.")
        return 0
    table = Table("step", "weights", "optimizer", title="checkpoints")
    table.add_column("MB", justify="right")
    table.add_column("state")
    for row in summary.checkpoints:
        table.add_row(f"{row.step:,}", row.weights, row.optimizer, row.megabytes, row.state)
    print_table(table)
    for name, fingerprint in summary.lineage.items():
        console.print(f"  {name:<10} {fingerprint}")
    return 0 if all(row.whole for row in summary.checkpoints) else 1
