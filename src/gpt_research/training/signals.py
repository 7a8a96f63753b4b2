"""Ctrl-C and SIGTERM as a wish to stop, which the trainer asks for where stopping is safe."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class StopWish:
    """Set by the first SIGINT or SIGTERM; a second Ctrl-C leaves at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        print("\nStopping: saving a checkpoint first. Ctrl-C again leaves at once.", file=sys.stderr, flush=True)


@contextlib.contextmanager
def stop_wish() -> Iterator[StopWish]:
    """Listen for SIGINT and SIGTERM inside the block."""
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may listen
        yield wish
        return
    before = {number: signal.signal(number, wish._receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
