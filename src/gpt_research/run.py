"""A run folder, opened once: a checkpoint's model, its tokenizer, settings and lineage.

Every command that takes a run opens it here, so that a checkpoint's files are hashed and read one
time. Knows nothing about how a run is trained, generated from, evaluated or exported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt_research.base import hints, machine, plugins, shared_cores
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import checkpoint_path, find_step, load_step, saved_steps
from gpt_research.checkpoint.weights import restore_model, shape_of
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.adapters import HEAD, language_model
from gpt_research.model.gpt import GPT
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.settings_history import run_config

RUNS = Path("runs")
"""Where training writes runs by default, and where commands look for the newest one."""


@dataclass(frozen=True)
class Run:
    """One checkpoint of a run, ready to generate from, evaluate or export."""

    folder: Path
    config: TrainConfig
    """The settings with which the step was taken."""
    tokenizer: Tokenizer
    model: GPT
    """In evaluation mode, in fp32, on the device that was asked for."""
    step: int
    """Optimizer steps behind the weights."""
    lineage: Mapping[str, Any]
    """Fingerprints of tokenizer, data, settings and program, or the source of an import."""
    weights_sha256: str
    """Of the weights' file; of a checkpoint in parts, the hash of its files' hashes in order."""
    averaged: bool = False
    """True if the weights are the moving average over steps."""
    task_head: torch.Tensor | None = None
    """The head of a fine-tuned run, (outputs, C), which the model, a language model, has not."""

    @classmethod
    def open(
        cls, folder: Path | str, device: torch.device | str = "cpu", step: str = "", ema: bool | None = None
    ) -> Run:
        """Open a checkpoint of a run folder.

        Args:
            folder: the run, or `RUN@STEP`.
            step: newest (a damaged one is passed over), best (lowest validation loss), or a number;
                by default what `RUN@STEP` names, else newest.
            ema: take the averaged weights; by default, if the checkpoint has them.

        Raises:
            UserError: no such run, nothing saved yet, no such step or average, damage, a tokenizer
                that is not the run's, or a plugin of the run that this process has not run.
        """
        reference = run_reference(folder, step)
        run_config(reference.folder)  # it says what a folder lacks that is no run
        return cls._open(reference.folder, reference.step, device, ema, None)

    def at(self, step: int, ema: bool | None = None) -> Run:
        """Open another checkpoint of the run, on the same device. The tokenizer is read once for
        all of them.

        Args:
            ema: as in `open`.

        Raises:
            UserError: as `open` does.
        """
        return self._open(self.folder, str(step), self.model.token_embedding.weight.device, ema, self.tokenizer)

    @classmethod
    def _open(
        cls, folder: Path, step: str, device: torch.device | str, ema: bool | None, tokenizer: Tokenizer | None
    ) -> Run:
        checkpoint = load_step(folder, step, optimizer=False)
        if checkpoint is None:
            raise UserError(f"{folder} has no checkpoint yet. Let training reach its first save.")
        config = run_config(folder, checkpoint.step)
        lineage = checkpoint.lineage
        plugins.require(lineage.get("plugins", {}), str(folder))
        tokenizer = tokenizer or Tokenizer.load(folder / "tokenizer.json")
        saved_with = lineage.get("tokenizer")
        if saved_with not in (None, tokenizer.fingerprint):
            raise UserError(
                f"{folder / 'tokenizer.json'} is not the tokenizer this model was trained with "
                f"({tokenizer.fingerprint[:12]}, not {saved_with[:12]}). Put the right one back."
            )
        machine.require_memory(
            4 * sum(math.prod(shape_of(checkpoint.model, name)) for name in checkpoint.model),
            machine.free_memory(),
            f"The model in {folder}",
            "End what else uses the memory, or take a machine with more.",
        )
        model, where = GPT(config.model, drawn=False), str(checkpoint_path(folder, checkpoint.step))
        weights = checkpoint.weights(ema, where)
        restore_model(model, language_model(weights.tensors, lineage), where)
        model = model.to(device).eval()
        if torch.device(device).type == "cpu":
            shared_cores.follow_load()
        head = weights.tensors.get(f"{HEAD}.weight")
        found = folder, config, tokenizer, model, checkpoint.step, lineage, weights.sha256, weights.averaged, head
        return cls(*found)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def check_vocabulary(self) -> None:
        """Check that the model and the tokenizer have vocabularies of one size.

        Raises:
            UserError: the sizes differ.
        """
        if self.model.config.vocab_size != self.tokenizer.vocab_size:
            raise UserError(
                f"The model in {self.folder} has {self.model.config.vocab_size} tokens and its tokenizer.json "
                f"{self.tokenizer.vocab_size}. Put the tokenizer it was trained with there."
            )


def load_model(
    folder: Path | str, device: torch.device | str = "cpu", step: str = "", ema: bool | None = None
) -> tuple[GPT, Tokenizer]:
    """Return the model of a run's checkpoint, ready to generate, and its tokenizer.

    Raises:
        UserError: as `Run.open` does.
    """
    run = Run.open(folder, device, step, ema)
    return run.model, run.tokenizer


def named_or_newest(named: str, step: str = "") -> RunReference:
    """Return the run and the checkpoint that a command names; if it names no run, the newest one
    under `runs/`.

    Args:
        named: `RUN`, `RUN@STEP`, `@STEP` of the newest run, or nothing.
        step: the checkpoint that a setting of the command names; empty if it names none.

    Raises:
        UserError: no run is named and there is none, or `named` and `step` name two checkpoints.
    """
    if not named or (named.startswith("@") and not Path(named).exists()):
        named = f"{newest_run(RUNS)}{named}"
    return run_reference(named, step)


def step_of_run(named: str, step: int | None) -> tuple[Path, int | None]:
    """Return the run folder, and the training step that a command names, for one that takes a step
    and not a checkpoint: `RUN@600` is step 600, and `RUN@best` the step that the best checkpoint
    was saved after. None if no step is named.

    Raises:
        UserError: as `named_or_newest` does, or there is no such checkpoint.
    """
    chosen = named_or_newest(named, "" if step is None else str(step))
    if not chosen.is_named:
        return chosen.folder, None
    is_number = chosen.step.isdecimal()  # a step need not have a checkpoint
    return chosen.folder, int(chosen.step) if is_number else find_step(chosen.folder, chosen.step)


def newest_run(root: Path) -> Path:
    """Return the run folder under `root` that training or an import wrote to last.

    Raises:
        UserError: there is none with a checkpoint.
    """
    runs = [path.parent for path in root.glob("*/config.yaml") if saved_steps(path.parent)]
    if not runs:
        raise UserError(
            f"No run with a checkpoint under {root}. Name a run folder, or train one: {hints.command('train')}"
        )
    return max(runs, key=_written_at)


def _written_at(run: Path) -> float:
    """Return the time at which a run was last written to."""
    # An imported run has no metrics.
    metrics = run / "metrics.jsonl"
    return (metrics if metrics.is_file() else run / "config.yaml").stat().st_mtime
