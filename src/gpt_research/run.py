"""The model of a run folder, and the run that was written to last."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.checkpoint.files import checkpoint_path, load_newest, saved_steps
from gpt_research.checkpoint.weights import restore_model
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model import GPT


def load_model(run: Path | str, device: torch.device | str = "cpu") -> tuple[GPT, Tokenizer]:
    """Return the model of a run's newest whole checkpoint, ready to generate, and its tokenizer.

    Raises:
        UserError: no such run, nothing saved yet, or damage.
    """
    run = Path(run)
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run folder (it has no config.yaml). Name the folder that training wrote.")
    checkpoint = load_newest(run, optimizer=False)
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
