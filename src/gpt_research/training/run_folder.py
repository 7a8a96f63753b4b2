"""Locks the run folder while a run trains in it, and checks the settings of a resumed run.

config.yaml settings.jsonl tokenizer.json trained_on.json metrics.jsonl loss.png samples.txt
checkpoints/ owner.json
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.base.locks import take_lock
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import write_yaml
from gpt_research.base.this_machine import TRAINED_ON, about_the_machine, versions
from gpt_research.checkpoint.choice import wait_until
from gpt_research.checkpoint.files import find_step, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.settings_history import (
    Period,
    config_to_go_on,
    differences,
    in_words,
    keep_old_settings,
    record,
)
from gpt_research.training.schedules import SCHEDULE_SETTINGS, learning_rates, same_so_far

if TYPE_CHECKING:
    from gpt_research.training.objective import Objective

OWNER = "owner.json"


@contextlib.contextmanager
def locked_run_folder(config: TrainConfig) -> Iterator[str]:
    """Lock the run folder of `config`, and check that `config` may train in it; only rank 0 calls
    this.

    Nothing of a run in the folder has changed until `fill_run_folder` is called. A folder that was
    made here, and in which nothing was written, is removed again.

    Returns:
        A mark, which stands in owner.json.

    Raises:
        UserError: another process has it, `resume` is never and it holds a run, or a setting
            changed.
    """
    run, mark = Path(config.out), secrets.token_hex(8)
    try:
        is_new = not run.exists()
        run.mkdir(parents=True, exist_ok=True)
        lock = take_lock(run, OWNER, mark)
    except OSError as error:
        raise UserError(f"The run folder {run} cannot be used ({error.strerror}). Name another with --out.") from None
    with lock:  # closing the file frees the lock
        if (steps := saved_steps(run)) and (run / "config.yaml").is_file():
            if config.resume == "never":
                raise UserError(
                    f"{run} holds a run and --resume is never. Name another folder with --out, or go on with --resume "
                    "auto."
                )
            step = steps[-1] if config.resume == "auto" else find_step(run, config.step)
            _check_changes(config_to_go_on(run, step, saved_steps(run)[-1]), config, run, step)
        try:
            yield mark
        finally:
            if is_new and [path.name for path in run.iterdir()] == [OWNER]:
                (run / OWNER).unlink()
                run.rmdir()


@contextlib.contextmanager
def shared_run_folder(run: Path, locked: contextlib.AbstractContextManager[str], runtime: Runtime) -> Iterator[None]:
    """Let rank 0 hold the lock on a run folder, after all ranks have seen that the folder is the
    same one for each of them.

    Args:
        locked: what `locked_run_folder` returned.

    Raises:
        UserError: as `locked_run_folder` does, or a rank sees another folder or none; all ranks
            raise it.
    """
    mark = ""
    with contextlib.ExitStack() as held:

        def lock() -> None:
            nonlocal mark
            mark = held.enter_context(locked)

        runtime.on_first(lock)
        if runtime.world_size > 1:
            mark, wrong = runtime.texts(mark)[0], ""
            if not wait_until(run, lambda: _mark_of(run) == mark):
                there = "does not exist" if not run.is_dir() else f"has no {OWNER}"
                if (run / OWNER).is_file():
                    there = f"has the {OWNER} of another process"
                wrong = (
                    f"{os.path.abspath(run)} {there}, but rank 0 has just locked it. Name a folder with --out that "
                    "lies on a file system which all hosts share."
                )
            runtime.refuse_unless_alike([wrong], f"The run folder {run} is not the same folder")
        yield


def _mark_of(run: Path) -> str:
    """Return the mark of the process that locked a run folder last; empty if this host sees
    none.
    """
    try:
        return str(json.loads((run / OWNER).read_text(encoding="utf-8"))["mark"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def fill_run_folder(
    run: Path, config: TrainConfig, data: Objective, step: int, data_fingerprint: str
) -> list[tuple[str, Any, Any]]:
    """Write what a run needs besides checkpoints into its locked folder.

    Args:
        step: steps that the run has taken, from which on the settings hold.

    Returns:
        Name, old and new value of each setting that has changed.
    """
    if saved_steps(run)[-1:] > [0]:  # the settings of an import that was not trained are no one's
        keep_old_settings(run)
    write_yaml(dataclasses.replace(config, resume="auto", step="newest", allow_change=False), run / "config.yaml")
    if data.tokenizer_file is not None:
        shutil.copyfile(data.tokenizer_file, run / "tokenizer.json")
    else:
        data.tokenizer.save(run / "tokenizer.json")
    write_json(run / TRAINED_ON, {"from_step": step, "machine": about_the_machine(), "versions": versions()})
    return record(run, Period(step, config, data_fingerprint))


def _check_changes(old: TrainConfig, new: TrainConfig, run: Path, step: int) -> None:
    """Refuse changed settings that decide the result, unless the user allows the change.

    Args:
        step: steps that were taken with the old settings; nothing came of them if it is 0.
    """
    changes = [
        change for change in differences(old, new) if change[0].partition(".")[0] not in TrainConfig.changeable_fields()
    ]
    # Dropout has no weights, so it may change. A plugin's model may give n_head another meaning.
    shape = [change for change in changes if change[0].startswith("model.") and change[0] != "model.dropout"]
    if old.init_from != new.init_from:
        began, asked = (f"those of {config.init_from}" if config.init_from else "its own" for config in (old, new))
        raise UserError(
            f"{run} holds a run that began with other weights ({began}, not {asked}). Go on with it by --resume {run}, "
            "or name another folder with --out."
        )
    if shape:  # no flag allows this, because the weights would not fit
        raise UserError(
            f"{run} holds a model of another shape ({in_words(shape)}). Name another folder with --out; "
            f"--init_from {run} begins there with its weights, at a shorter context too."
        )
    if changes and same_so_far(old, new, step):  # another end is no other run, while no step knows of the end
        changes = [change for change in changes if change[0] not in SCHEDULE_SETTINGS]
    if changes and step > 0 and not new.allow_change:
        raise UserError(
            f"{run} was trained with other settings ({in_words(changes)}). Go on with the old ones by "
            f"--resume {run}, take the new ones by --allow_change, or name another folder with --out."
            + _instead(old, new, run, changes)
        )


def _instead(old: TrainConfig, new: TrainConfig, run: Path, changes: list[tuple[str, Any, Any]]) -> str:
    """Return the sentence on the checkpoint before the decay, if a run can go on from there."""
    if {change[0] for change in changes} != {"max_steps"}:
        return ""
    before = learning_rates(old).steps_before_decay
    if not before or before not in saved_steps(run) or not same_so_far(old, new, before):
        return ""
    again = hints.command("train", "--resume", run, "--step", before, "--max_steps", new.max_steps)
    return f" Or go on from before the decay, which needs no --allow_change: {again}"
