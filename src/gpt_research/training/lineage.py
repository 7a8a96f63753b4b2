"""The lineage of a checkpoint: tokenizer, data, settings and program, each by a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gpt_research.base import plugins
from gpt_research.base.errors import UserError
from gpt_research.base.settings import by_flag, to_dict
from gpt_research.config import TrainConfig
from gpt_research.version import __version__

ORIGIN = ("imported_from", "init_from", "mean_of")
"""Entries that say where the weights of step 0 came from, if not from the seed. All later
checkpoints of the run repeat them."""


NOT_OF_A_FINE_TUNING = {
    "run", "step", "data", "val", "out", "resume", "allow_change", "micro_batch", "early_stopping", "eval_interval",
    "log_interval", "save_interval", "keep_last", "seed", "device", "parallel", "gradient_checkpointing", "tracker",
}  # fmt: skip
"""Settings of a fine-tuning that decide nothing, or that stand in the settings of its training or
in its lineage, where they are resolved."""


def lineage(config: TrainConfig, tokenizer: str, data: str) -> dict[str, Any]:
    """Return fingerprints of everything that the weights of a run come from, those of tokenizer and
    data given.
    """
    loaded = plugins.hashes()
    return {
        "tokenizer": tokenizer,
        "data": data,
        "config": _digest(deciding_settings(config)),
        "code": _code(),
        **({"deterministic": True} if config.deterministic else {}),
        **({"plugins": loaded} if loaded else {}),
    }


def mean_of(origins: Sequence[Mapping[str, Any]], newest: Mapping[str, Any], *, ema: bool) -> dict[str, Any]:
    """Return the lineage of weights that are the mean of several checkpoints'.

    Args:
        origins: run, step and hash of the weights of each checkpoint.
        newest: the lineage of the newest of them.
        ema: True if the averaged weights of the checkpoints were taken.
    """
    kept = {name: newest[name] for name in ("tokenizer", "data", "plugins", "finetune") if name in newest}
    taken = {"checkpoints": list(origins), **({"ema": True} if ema else {}), "lineage": dict(newest)}
    return {**kept, "code": _code(), "mean_of": taken}


def _code() -> str:
    return f"gpt-research {__version__}, torch {torch.__version__}"


def deciding_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide what a run learns from its data, the seed among them."""
    changeable = TrainConfig.changeable_fields()
    return {name: value for name, value in to_dict(config).items() if name not in changeable}


def settings_with_origin(settings: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what a run learns, by the names of flags, with those that
    only its lineage knows: the checkpoint with whose weights it began, and those of a fine-tuning.

    Args:
        settings: as `deciding_settings` returns them.
        origin: its lineage; empty if it is not known.
    """
    fine_tuning = origin.get("finetune", {}).get("settings", {})
    own = {name: value for name, value in fine_tuning.items() if name not in NOT_OF_A_FINE_TUNING}
    began = {"step": origin["init_from"]["step"]} if "init_from" in origin else {}
    # The settings of the training loop come last, because they are resolved.
    return by_flag({**own, **began, **settings}) if settings else {}


def check_lineage(before: Mapping[str, Any], now: Mapping[str, Any], where: str, config: TrainConfig) -> None:
    """Refuse weights of another tokenizer or plugin, and other data unless the user allows it.

    Raises:
        UserError: they differ; the message names the difference and the remedy.
    """
    plugins.require(before.get("plugins", {}), where)
    if before.get("tokenizer", now["tokenizer"]) != now["tokenizer"]:
        raise UserError(
            f"{where} was trained with another tokenizer than that of {config.data}. Preprocess the texts with its "
            "own: --tokenizer RUN/tokenizer.json."
        )
    if before.get("data", now["data"]) != now["data"] and not config.allow_change:
        raise UserError(
            f"{where} was trained on other data than {config.data} holds now "
            f"({before['data'][:12]} -> {now['data'][:12]}). Name the old data with --data, or take the new by "
            "--allow_change."
        )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
