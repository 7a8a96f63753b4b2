"""Locks on folders, so that two processes never write into the same one."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import IO

from gpt_research.base import unix
from gpt_research.base.errors import UserError

LOOK_S = 0.05
"""Seconds for which a look by `is_locked` may hold a lock at most."""


def take_lock(folder: Path, name: str, mark: str = "") -> IO[str]:
    """Lock a file of a folder, and write into it who holds it; closing the file frees the lock.

    Args:
        mark: a text that other hosts look for in the file.

    Raises:
        UserError: another process holds it.
        OSError: the file cannot be written.
    """
    if unix.is_missing():
        raise UserError(unix.REFUSAL)
    import fcntl

    # The kernel frees the lock when the process ends, however it ends. So a crash never leaves a
    # folder locked, as a file whose existence is the lock would.
    file = open(folder / name, "a+", encoding="utf-8")  # noqa: SIM115  stays open while the lock is held
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # by a process that only looks, or by one that stays
            time.sleep(LOOK_S)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = json.loads(file.read() or "{}")
        file.close()
        raise UserError(
            f"{folder} is in use by process {owner.get('pid')} on {owner.get('host')}. "
            "Wait for it, stop it, or name another folder with --out."
        ) from None
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "mark": mark}))
    file.flush()
    os.fsync(file.fileno())  # other hosts look for the mark
    return file


def is_locked(folder: Path, name: str) -> bool:
    """Return whether a process holds the lock on a file of a folder."""
    if unix.is_missing():
        return False
    import fcntl

    try:
        with open(folder / name, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # there is no such file, or the file system has no locks
        return False
