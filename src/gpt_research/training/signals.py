"""Ctrl-C, SIGTERM and SIGHUP set a flag, which the trainer checks whenever it can stop safely."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class StopSignal:
    """True after the first signal. A second Ctrl-C ends the program at once."""

    def __init__(self, announce: Callable[[], None]) -> None:
        self.signal: int | None = None
        self._announce = announce

    def __bool__(self) -> bool:
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        # A handler may interrupt any line, so it only sets this number and writes one message.
        self.signal = number
        self._announce()


@contextlib.contextmanager
def catch_stop_signals(announce: Callable[[], None]) -> Iterator[StopSignal]:
    """Catch SIGINT, SIGTERM and SIGHUP inside the block; the first one calls `announce` from the
    signal handler.

    SIGHUP comes when the terminal is closed. A run that was started with `nohup` ignores it.
    """
    stop = StopSignal(announce)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stop
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop._receive) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
