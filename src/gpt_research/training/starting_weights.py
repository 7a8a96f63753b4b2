"""`--init_from RUN`: a new run begins with the weights of another one, or of an import.

Only weights are taken over; the other run's folder is read and never written to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_research.base import plugins
from gpt_research.base.errors import SharedError, UserError
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.choice import load_alike
from gpt_research.checkpoint.files import Checkpoint, checkpoint_path
from gpt_research.checkpoint.weights import restore_model
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.adapters import language_model
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.settings_history import differences, run_config
from gpt_research.training.objective import Source

POSITIONS = "position_embedding.weight"
"""The parameter with a row for each position of the context."""


Fit = Callable[[Source], Mapping[str, torch.Tensor] | None]
"""Takes another run's weights and returns those to begin with; None if they must fit as they
are."""


def take_weights(
    model: GPT, config: TrainConfig, tokenizer: str, runtime: Runtime, fit: Fit = lambda source: None
) -> dict[str, Any]:
    """Give a new model the weights of the run `config.init_from`; return what lineage keeps of it.

    A shorter context takes the first rows of the table of positions. Of a sharded model, each
    process takes the rows that it holds.

    Args:
        tokenizer: fingerprint of the tokenizer of the new run's data.
        fit: makes other weights of them, as an objective may. A parameter that it leaves out stays
            as it was drawn.

    Raises:
        UserError: no such run or checkpoint, a model of another shape, or another tokenizer.
    """
    folder = Path(config.init_from)
    # It says what a folder lacks that is no run.
    runtime.together(lambda: run_config(folder), f"The run folder {folder} is not the same")
    checkpoint = load_alike(runtime, folder, config.step, optimizer=False)
    if checkpoint is None:
        raise SharedError(f"{folder} has no weights to begin with: it has no checkpoint yet.")
    return runtime.together(lambda: _put(checkpoint, model, config, tokenizer, fit))


def _put(checkpoint: Checkpoint, model: GPT, config: TrainConfig, tokenizer: str, fit: Fit) -> dict[str, Any]:
    """Put the weights of a checkpoint into the model, and return what lineage keeps of it."""
    folder = Path(config.init_from)
    where, before = str(checkpoint_path(folder, checkpoint.step)), checkpoint.lineage
    plugins.require(before.get("plugins", {}), where)
    trained_with = before.get("tokenizer") or Tokenizer.load(folder / "tokenizer.json").fingerprint
    theirs, weights = run_config(folder, checkpoint.step).model, checkpoint.weights(config.ema, where)
    tensors = language_model(weights.tensors, before)
    fitted = fit(Source(folder, theirs, trained_with, tensors))
    if fitted is not None:
        restore_model(model, fitted, where, partly=True)
    else:
        if trained_with != tokenizer:
            raise UserError(
                f"{folder} was trained with another tokenizer than that of {config.data}. Preprocess the texts with "
                f"its own: --tokenizer {folder / 'tokenizer.json'}."
            )
        _check_shape(theirs, config.model, folder)
        restore_model(model, _fitted(tensors, theirs, config.model), where)
    return {
        "run": str(folder),
        "step": checkpoint.step,
        **({"ema": True} if weights.averaged else {}),
        "weights_sha256": weights.sha256,
        "context": [theirs.block_size, config.model.block_size],
        "lineage": before,
    }


def _check_shape(theirs: GPTConfig, ours: GPTConfig, folder: Path) -> None:
    old = dataclasses.replace(theirs, dropout=ours.dropout, vocab_size=ours.vocab_size)
    if ours.block_size <= theirs.block_size or ours.positions == "sinusoidal":
        old = dataclasses.replace(old, block_size=ours.block_size)
    changes = [f"model.{name} is {new!r}, but there {before!r}" for name, before, new in differences(old, ours)]
    if changes:
        raise UserError(
            f"The weights of {folder} do not fit: {'; '.join(changes)}. Leave these settings out; only model.dropout "
            "and a shorter model.block_size may differ."
        )


def _fitted(weights: Mapping[str, torch.Tensor], theirs: GPTConfig, ours: GPTConfig) -> Mapping[str, torch.Tensor]:
    """Return the weights with as many positions as the new context has."""
    if ours.block_size == theirs.block_size or POSITIONS not in weights:
        return weights
    return {**weights, POSITIONS: weights[POSITIONS][: ours.block_size]}
