"""`gpt-research evaluate`: loss, perplexity and bits per byte of a run on a data set, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from gpt_research import runtime as runtimes
from gpt_research.checkpoint import load_model, newest_run
from gpt_research.config import EvaluateCommand, TrainConfig
from gpt_research.data.dataloader import evaluation_batches
from gpt_research.data.shards import Dataset
from gpt_research.errors import UserError
from gpt_research.evaluation.loss import Loss, measure, total
from gpt_research.settings import read_yaml


def run(command: EvaluateCommand) -> int:
    """Evaluate, print the table, write the JSON; return the exit code."""
    run_folder = Path(command.run) if command.run else newest_run(Path("runs"))
    data = command.data or read_yaml(TrainConfig, run_folder / "config.yaml").data
    losses = evaluate(run_folder, data, command)
    _table(f"{run_folder} on {data} ({command.split})", losses, Console())
    if command.json:
        path = Path(command.json)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_as_json(run_folder, data, command, losses), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} could not be written ({error.strerror}). Name another file with --json.") from None
    return 0


def evaluate(run_folder: Path, data: str, command: EvaluateCommand) -> dict[str, Loss]:
    """Return the loss of a run's newest checkpoint on each corpus of a data set.

    Raises:
        UserError: no model, no data, another tokenizer, or nothing in that split.
    """
    runtime = runtimes.start(command.device, command.precision)
    model, tokenizer = load_model(run_folder, runtime.device)
    dataset = Dataset(data, model.config.block_size)
    if dataset.fingerprint not in ("", tokenizer.fingerprint):
        raise UserError(
            f"{data} was written with the tokenizer {dataset.fingerprint[:12]}, but {run_folder} was trained with "
            f"{tokenizer.fingerprint[:12]}. Preprocess the text with --tokenizer {run_folder}/tokenizer.json."
        )
    byte_lengths = torch.from_numpy(tokenizer.byte_lengths).to(runtime.device)
    losses = {
        name: measure(
            model,
            evaluation_batches(files, command.max_tokens or None, command.batch_size),
            byte_lengths,
            runtime,
        )
        for name, files in dataset.splits[command.split].items()
        if files.num_tokens > 1
    }
    if not losses:
        raise UserError(f"{data} has nothing in the split {command.split}. Try --split train.")
    return losses


def _table(title: str, losses: dict[str, Loss], console: Console) -> None:
    table = Table("corpus", title=title)
    for heading in ("tokens", "loss", "perplexity", "bits per byte"):
        table.add_column(heading, justify="right")
    rows = {**losses, "overall": total(losses)} if len(losses) > 1 else losses
    for name, loss in rows.items():
        table.add_row(
            name,
            f"{loss.tokens:,}",
            f"{loss.loss:.4f}",
            f"{loss.perplexity:.2f}",
            f"{loss.bits_per_byte:.4f}",
        )
    console.print(table)


def _as_json(run_folder: Path, data: str, command: EvaluateCommand, losses: dict[str, Loss]) -> dict[str, Any]:
    def plain(loss: Loss) -> dict[str, float]:
        return {
            "loss": loss.loss,
            "perplexity": loss.perplexity,
            "bits_per_byte": loss.bits_per_byte,
            "tokens": loss.tokens,
            "bytes": loss.bytes,
        }

    return {
        "run": str(run_folder),
        "data": data,
        "split": command.split,
        "precision": command.precision,
        "overall": plain(total(losses)),
        "corpora": {name: plain(loss) for name, loss in losses.items()},
    }
