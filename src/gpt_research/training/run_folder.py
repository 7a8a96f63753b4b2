"""The run folder: one owner at a time, one config for its whole life, everything needed to generate.

config.yaml  tokenizer.json  metrics.jsonl  loss.png  samples.txt  checkpoints/  owner.json
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml, to_dict, write_yaml
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import TrainConfig

# Settings that may differ on resume: they change where numbers go or how fast they come, not what is learnt.
FREE = {
    "out", "data", "resume", "allow_change", "device", "compile", "gradient_checkpointing", "micro_batch",
    "log_interval", "eval_interval", "eval_tokens", "save_interval", "keep_last", "keep_every", "sample_prompt",
    "tracker", "verify_data", "spike_z", "parallel", "loss_chunk", "profile",
}  # fmt: skip


@dataclass
class RunFolder:
    """An open run folder; close it to let another process have it."""

    path: Path
    lock: IO[str] | None

    def close(self) -> None:
        if self.lock is not None:
            self.lock.close()  # the kernel lets go of the lock, as it does when a process dies


def open_run(config: TrainConfig, tokenizer_file: Path | None, *, is_main: bool) -> RunFolder:
    """Take the run folder of `config`, check that it may go on, and write what it must hold.

    Only the main process locks and writes.

    Raises:
        UserError: another process has it, `resume` is never and it is not empty, or a setting changed.
    """
    run = Path(config.out)
    if not is_main:
        return RunFolder(run, None)
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(run)
    except OSError as error:
        raise UserError(f"The run folder {run} cannot be used ({error.strerror}). Name another with --out.") from None
    try:
        if config.resume == "never" and saved_steps(run):
            raise UserError(
                f"{run} holds a run and --resume is never. Name another folder with --out, or go on with --resume auto."
            )
        if (run / "config.yaml").is_file() and saved_steps(run):
            _check_changes(read_yaml(TrainConfig, run / "config.yaml"), config, run)
        write_yaml(dataclasses.replace(config, resume="auto", allow_change=False), run / "config.yaml")
        if tokenizer_file is not None:
            shutil.copyfile(tokenizer_file, run / "tokenizer.json")
    except BaseException:
        lock.close()
        raise
    return RunFolder(run, lock)


def _take_lock(run: Path) -> IO[str]:
    """Lock `owner.json`; the lock dies with its process, so a dead owner's folder is simply free."""
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
    changes = [
        f"{name}: {before!r} -> {after!r}"
        for name, before, after in _differences(to_dict(old), to_dict(new))
        if name not in FREE
    ]
    shape = [change for change in changes if change.startswith("model.")]
    if shape:
        raise UserError(f"{run} holds a model of another shape ({'; '.join(shape)}). Name another folder with --out.")
    if changes and not new.allow_change:
        raise UserError(
            f"{run} was trained with other settings ({'; '.join(changes)}). Go on with the old ones by "
            f"--resume {run}, take the new ones by --allow_change, or name another folder with --out."
        )


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name in new:
        before, after = old.get(name), new[name]
        if prefix + name == "weights":
            found += [("weights", before, after)] if before != after else []
        elif isinstance(after, dict):
            found += _differences(before or {}, after, f"{prefix}{name}.")
        elif before != after:
            found.append((prefix + name, before, after))
    return found
