"""Locks the run folder while a run trains in it, and checks the settings of a resumed run.

config.yaml  tokenizer.json  metrics.jsonl  loss.png  samples.txt  checkpoints/  owner.json
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml, to_dict, write_yaml
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training.inputs import TrainingData


@contextlib.contextmanager
def locked_run_folder(config: TrainConfig, data: TrainingData, *, is_main: bool) -> Iterator[Path]:
    """Lock the run folder of `config`, check its settings, and write config and tokenizer into it.

    Only rank 0 locks and writes; the others get the path alone.

    Raises:
        UserError: another process has it, `resume` is never and it holds a run, or a setting
            changed.
    """
    run = Path(config.out)
    if not is_main:
        yield run
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(run)
    except OSError as error:
        raise UserError(f"The run folder {run} cannot be used ({error.strerror}). Name another with --out.") from None
    with lock:  # closing the file frees the lock
        _check_and_fill(run, config, data)
        yield run


def _check_and_fill(run: Path, config: TrainConfig, data: TrainingData) -> None:
    """Check that `config` may train in a locked run folder, and write what a run needs into it."""
    if saved_steps(run):
        if config.resume == "never":
            raise UserError(
                f"{run} holds a run and --resume is never. Name another folder with --out, or go on with --resume auto."
            )
        if (run / "config.yaml").is_file():
            _check_changes(read_yaml(TrainConfig, run / "config.yaml"), config, run)
    write_yaml(dataclasses.replace(config, resume="auto", allow_change=False), run / "config.yaml")
    if data.tokenizer_file is not None:
        shutil.copyfile(data.tokenizer_file, run / "tokenizer.json")
    else:
        data.tokenizer.save(run / "tokenizer.json")


def _take_lock(run: Path) -> IO[str]:
    """Lock `owner.json` and write who holds it."""
    # The kernel frees the lock when the process ends, however it ends. So a crash never leaves a
    # folder locked, as a file whose existence is the lock would.
    file = open(run / "owner.json", "a+", encoding="utf-8")  # noqa: SIM115  stays open while the run lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = json.loads(file.read() or "{}")
        file.close()
        raise UserError(
            f"{run} is in use by process {owner.get('pid')} on {owner.get('host')}. "
            "Wait for it, stop it, or name another folder with --out."
        ) from None
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    file.flush()
    return file


def _check_changes(old: TrainConfig, new: TrainConfig, run: Path) -> None:
    """Refuse changed settings that decide the result, unless the user allows the change."""
    changeable = TrainConfig.changeable_fields()
    changes = [
        f"{name}: {before!r} -> {after!r}"
        for name, before, after in _differences(to_dict(old), to_dict(new))
        if name.partition(".")[0] not in changeable
    ]
    # No flag allows these, because the weights would not fit the model.
    shape = [change for change in changes if change.startswith("model.")]
    if shape:
        raise UserError(f"{run} holds a model of another shape ({'; '.join(shape)}). Name another folder with --out.")
    if changes and not new.allow_change:
        raise UserError(
            f"{run} was trained with other settings ({'; '.join(changes)}). Go on with the old ones by "
            f"--resume {run}, take the new ones by --allow_change, or name another folder with --out."
        )


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return name, old and new value of every setting that differs."""
    differences: list[tuple[str, Any, Any]] = []
    for name in new:
        before, after = old.get(name), new[name]
        # Two dictionaries of weights may have different keys, so they are compared as a whole.
        if prefix + name == "weights":
            differences += [("weights", before, after)] if before != after else []
        elif isinstance(after, dict):
            differences += _differences(before or {}, after, f"{prefix}{name}.")
        elif before != after:
            differences.append((prefix + name, before, after))
    return differences
