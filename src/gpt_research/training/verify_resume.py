"""Checks that an interrupted run equals an uninterrupted one, bit for bit.

The same steps are taken in one go and in two halves, with the user's own settings and data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.stopping import is_first_rank
from gpt_research.checkpoint.files import load_newest
from gpt_research.config import TrainConfig
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics


@dataclass(frozen=True)
class Verdict:
    """The result of the comparison."""

    tensors: int
    """Number of weights and optimizer states that were compared."""
    different: list[str]
    """Names of those whose SHA-256 differs."""
    losses: int
    """Number of steps whose loss was compared."""
    first_different_loss: int | None
    """The first step whose loss differs, or None."""

    @property
    def equal(self) -> bool:
        return not self.different and self.first_different_loss is None


def verify_resume(config: TrainConfig, steps: int) -> Verdict:
    """Run the steps both ways in folders under `config.out` and compare weights, optimizer state
    and losses.

    Raises:
        UserError: what `train` raises, or a folder that holds something else.
    """
    root = Path(config.out)
    if is_first_rank():  # the other ranks look at the folder when they train
        if root.exists() and not {path.name for path in root.iterdir()} <= {"whole", "halves"}:
            raise UserError(f"{root} holds something else. Name a folder for the two runs with --out.")
        shutil.rmtree(root, ignore_errors=True)
    config = dataclasses.replace(
        config,
        log_interval=1,
        eval_interval=0,
        save_interval=0,
        keep_best=False,
        early_stopping=0,
        resume="auto",
        tracker="none",
    )
    whole = dataclasses.replace(config, out=str(root / "whole"))
    halves = dataclasses.replace(config, out=str(root / "halves"))
    for part, until in ((whole, steps), (halves, steps // 2), (halves, steps)):
        outcome = train(part, until=until)
        if outcome.stopped_by is not None:  # the user stops the comparison, and not only this part
            signal.raise_signal(outcome.stopped_by)
    one, two = _hashes(whole.out), _hashes(halves.out)
    losses_one, losses_two = _losses(whole.out), _losses(halves.out)
    compared = sorted(losses_one.keys() | losses_two.keys())
    return Verdict(
        len(one),
        [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)],
        len(compared),
        next((step for step in compared if losses_one.get(step) != losses_two.get(step)), None),
    )


def _hashes(run_folder: str) -> dict[str, str]:
    checkpoint = load_newest(Path(run_folder))
    assert checkpoint is not None, "train saves before it returns"
    averages = {f"ema/{name}": tensor for name, tensor in (checkpoint.ema or {}).items()}
    tensors = {**checkpoint.model, **checkpoint.optimizer, **averages}
    return {name: hashlib.sha256(_bytes(tensor)).hexdigest() for name, tensor in tensors.items()}


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _losses(run_folder: str) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in read_metrics(Path(run_folder)) if "loss" in line}
