"""How a process of a pool ended, if it ended before its time."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from multiprocessing.process import BaseProcess

FORK_SERVER_GONE = 255
"""The status that Python gives a process if the fork server, its parent, is not there to say it."""


def said_end(processes: Iterable[BaseProcess]) -> str:
    """Return the end of a sentence about the process that broke its pool: "was killed, ...".

    Args:
        processes: of the pool, which is shut down: Python has ended the others with SIGTERM.
    """
    codes = {process.exitcode for process in processes} - {None}
    code = next(iter(codes - {0, -signal.SIGTERM} or codes), None)
    if code is None:
        return "ended before its time"
    if code == -signal.SIGKILL:
        return "was killed, as the system does where memory runs out"
    if code == FORK_SERVER_GONE:
        return "was lost, because the process that starts others ended"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
