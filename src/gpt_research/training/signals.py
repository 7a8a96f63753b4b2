"""Ctrl-C, SIGTERM and SIGHUP set a flag, which the trainer checks whenever it can stop safely.

One process may get the signal alone, so all ranks agree to stop.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from gpt_research.base.runtime import Runtime

ASKS_EVERY_S = 1.0
"""Seconds between two times at which the ranks agree whether to stop."""


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


class StopTogether:
    """Whether the ranks are to stop, on which all must agree, because the others would wait for one
    that left.

    To agree is an exchange between all hosts, so it happens about once a second. All ranks exchange
    at the same passes; rank 0 tells the others after how many passes they do it again.
    """

    def __init__(self, runtime: Runtime, wanted: Callable[[], bool]) -> None:
        """Ask no rank yet.

        Args:
            wanted: whether this rank is to stop.
        """
        self._runtime, self._wanted = runtime, wanted
        self._agreed = False
        self._passes, self._next, self._asked_at = 0, 1, time.perf_counter()
        self._rhythm = 1

    def __call__(self) -> bool:
        """Return whether all ranks stop; all call this before the same passes."""
        if self._agreed or self._runtime.world_size == 1:
            self._agreed = self._agreed or self._wanted()
            return self._agreed
        self._passes += 1
        if self._passes < self._next:
            return False
        now = time.perf_counter()
        # The first passes may be much slower than the others, or much faster while a GPU's queue
        # fills, so the distance grows step by step.
        fitting = self._rhythm * ASKS_EVERY_S / max(now - self._asked_at, 1e-6)
        fitting = max(1.0, min(fitting, 2.0 * self._rhythm))
        wanted, rhythm = self._runtime.largest_of_each([self._wanted(), fitting if self._runtime.is_main else 0.0])
        self._agreed, self._rhythm, self._asked_at = wanted > 0, int(rhythm), now
        self._next = self._passes + self._rhythm
        return self._agreed


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
