"""What a user should know of a run before its first step, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.engine import encode_prompt
from gpt_research.training.schedules import fitting_warmup


def about_the_inputs(
    config: TrainConfig, tokenizer: Tokenizer, corpora: Sequence[str], validated: Sequence[str]
) -> list[str]:
    """Return a sentence on each thing that the user may not have meant.

    Args:
        tokenizer: of the data set.
        corpora: the names of those in the data set.
        validated: the names of those with a validation split.

    Raises:
        UserError: the run would have to stop later: at a sample prompt that the context does not
            hold, or for want of a validation split.
    """
    try:
        encode_prompt(tokenizer, config.model.block_size, tokenizer.known_part(config.sample_prompt))
    except UserError as error:
        raise UserError(f"sample_prompt is too long. {error}") from None
    for name in ("keep_best", "early_stopping"):
        if getattr(config, name) and not validated:
            raise UserError(
                f"{name} needs a validation split, but {config.data} has none. Preprocess with --val_fraction, or "
                f"leave {name} out."
            )
    found = []
    if (warmup := fitting_warmup(config.warmup_steps, config.max_steps)) != config.warmup_steps:
        found.append(
            f"warmup_steps is {config.warmup_steps:,}, but the run ends at step {config.max_steps:,}: the learning "
            f"rate now rises for {warmup:,} steps. Name a shorter warm-up with --warmup_steps."
        )
    without = [name for name in corpora if name not in validated]
    if not validated:
        found.append(
            f"{config.data} has no validation split, so nothing is evaluated; samples and the loss curve are written "
            "all the same. Preprocess with --val_fraction to have one."
        )
    elif without:
        found.append(f"Evaluations leave out the corpora that have no validation split: {', '.join(without)}.")
    return found


def about_the_start(
    run: Path, lineage: Mapping[str, Any], saved_step: int | None, dropped: Sequence[int], *, named: bool
) -> list[str]:
    """Return sentences on the weights that the run begins with, and on what it drops.

    Args:
        saved_step: step of the checkpoint that was loaded; None if none was.
        dropped: steps of the checkpoints that a run which went back no longer has.
        named: True if `--resume` names the run.
    """
    found = []
    if saved_step is None and "init_from" in lineage:
        found.append(_of_other_weights(lineage["init_from"]))
    elif saved_step is None and named:
        found.append(f"{run} has no checkpoint yet, so it begins at step 0.")
    elif saved_step == 0 and "imported_from" in lineage:
        found.append(
            f"{run} is an import of {lineage['imported_from']}: its weights stay there as step 0 (--step 0). To "
            f"leave the folder as it is, train in another: --init_from {run} --out OTHER."
        )
    elif saved_step == 0 and "mean_of" in lineage:
        number = len(lineage["mean_of"]["checkpoints"])
        found.append(
            f"The weights of {run} are the mean of {number} checkpoints; they stay there as step 0 (--step 0). "
            "Optimizer and schedule are new. To leave the folder as it is, train in another: "
            f"--init_from {run} --out OTHER."
        )
    if dropped:
        steps = ", ".join(f"{step:,}" for step in dropped)
        found.append(
            f"Went back to step {saved_step or 0:,}. Dropped: the checkpoints of step {steps}, and all lines of "
            f"metrics.jsonl after step {saved_step or 0:,}."
        )
    return found


def _of_other_weights(origin: Mapping[str, Any]) -> str:
    """Return in a sentence where the weights of step 0 come from, and what is new."""
    source = origin["lineage"].get("imported_from")
    imported = f" (imported from {source})" if source and origin["step"] == 0 else ""
    which = "the averaged ones" if origin.get("ema") else "those"
    theirs, ours = origin["context"]
    context = f", with the first {ours:,} of its {theirs:,} positions" if ours != theirs else ""
    return (
        f"Weights: {which} of {origin['run']} at step {origin['step']:,}{imported}{context}. Optimizer, schedule and "
        "order of the data are new."
    )
