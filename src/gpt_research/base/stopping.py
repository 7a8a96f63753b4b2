"""Ctrl-C, SIGTERM and a closed terminal end the program with one line that says how to go on.

A signal raises an exception in the main thread, so that files and workers are put away, and
`cli.command_line` prints the line. Where an exception would be lost or come too late, this module
prints the line itself and ends the process at once:

- before `cli.command_line` can catch an exception;
- while a module is imported, because many libraries take an import that fails for a package that is
  missing, and go on;
- in a destructor, from which no exception gets out;
- if the main thread stays in foreign code, such as a tokenizer's training, for `PATIENCE_S`;
- at a second signal, because then the user does not want to wait.

`training.signals` has other handlers while a run trains, which save first. This module imports
little, because `__main__` imports it before all else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 2.0
"""Seconds that the main thread gets to see a signal."""
GO_ON = "Start the same command again."


class Stopped(BaseException):
    """SIGTERM or SIGHUP came. Ctrl-C raises KeyboardInterrupt, as everywhere in Python."""


class Ended(BaseException):
    """A block of `advising` was stopped, and the line has been printed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
        """The exit code: 128 and the number of the signal."""


class _Listener:
    """Takes the signals of this process."""

    def __init__(self) -> None:
        self.active = False
        self.number: int | None = None
        """The signal that came, or None."""
        self.go_on = GO_ON
        """The end of the line that the user sees."""
        self.caught = False
        """An exception would be caught: the program is inside a block of `advising`."""
        self.deferring = False
        """A signal waits until the block of `deferred` ends."""
        self.seen = threading.Event()
        """Set when Python's handler has run, which foreign code can delay."""

    def receive(self, number: int, frame: object) -> None:
        """Handle a signal, in the main thread."""
        self.seen.set()
        if self.number is not None or not self.caught or _is_importing(frame):
            self.leave(number)
        self.number = number
        if not self.deferring:
            self.stop()

    def stop(self) -> None:
        """Raise the exception of the signal that came, if one did."""
        if self.number is not None:
            raise KeyboardInterrupt if self.number == signal.SIGINT else Stopped

    def leave(self, number: int) -> None:
        """Print the line and end the process, without any clearing up."""
        show_cursor = "\x1b[?25h" if _is_terminal() else ""  # a progress bar hides it
        _write(show_cursor + self.line())
        os._exit(128 + number)

    def line(self) -> str:
        """Return the line that the user sees; empty on the other ranks of a run."""
        if not is_first_rank():
            return ""
        return ("\n" if _is_terminal() else "") + f"Stopped. {self.go_on}\n"

    def watch(self, reader: int) -> None:
        """End the process if the main thread does not see a signal in time; runs on a thread."""
        while number := os.read(reader, 1):
            ours = signal.getsignal(number[0]) == self.receive
            if ours and not self.seen.wait(PATIENCE_S):
                self.leave(number[0])
        os.close(reader)

    def unraisable(self, lost: sys.UnraisableHookArgs) -> None:
        """Take an exception that a destructor raised."""
        if self.number is not None and lost.exc_type in (KeyboardInterrupt, Stopped):
            self.leave(self.number)
        sys.__unraisablehook__(lost)


_listener = _Listener()


@contextlib.contextmanager
def listening(*, until_exit: bool = False) -> Iterator[None]:
    """Take the signals inside the block; a block within such a block changes nothing.

    Args:
        until_exit: the program ends after the block. If its work is done, Ctrl-C changes nothing
            then; if it was stopped, a signal ends it without a word.
    """
    if _listener.active or threading.current_thread() is not threading.main_thread():
        yield
        return
    # A program that was started with `nohup` or by a script in the background ignores a signal.
    taken = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _listener.receive) for number in taken}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old_hook, sys.unraisablehook = sys.unraisablehook, _listener.unraisable
    threading.Thread(target=_listener.watch, args=(reader,), name="signals", daemon=True).start()
    _listener.active = True
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if until_exit else handler)
        if until_exit and _listener.number is None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(old_writer)
        os.close(writer)
        sys.unraisablehook = old_hook
        _listener.active, _listener.number = False, None
        _listener.seen.clear()


def _stopped_by(error: BaseException) -> int | None:
    """Return the signal that made the program end with `error`; None if that has another cause."""
    # Once a signal has come, any error is its consequence: C code turns an interruption into errors
    # of other names, and workers that got the signal too are missed.
    if _listener.number is not None:
        return _listener.number
    return int(signal.SIGINT) if isinstance(error, KeyboardInterrupt) else None


@contextlib.contextmanager
def advising(go_on: str) -> Iterator[None]:
    """Say `go_on` if the block is stopped: how the user goes on, as a sentence.

    Raises:
        Ended: the block was stopped.
    """
    before = _listener.go_on, _listener.caught
    _listener.go_on, _listener.caught = go_on or GO_ON, True
    try:
        yield
    except Ended:  # a block within this one has printed the line
        raise
    except BaseException as error:
        if (number := _stopped_by(error)) is None:
            raise
        with contextlib.suppress(OSError, ValueError):  # a closed terminal takes no line
            sys.stderr.write(_listener.line())
            sys.stderr.flush()
        raise Ended(128 + number) from None
    finally:
        _listener.go_on, _listener.caught = before


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let a signal wait for the end of the block, which must be short."""
    _listener.deferring = True
    try:
        yield
    finally:
        _listener.deferring = False
    _listener.stop()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        _listener.number = None
        _listener.seen.clear()


def is_first_rank() -> bool:
    """Return True for the process of a run that speaks to the user, before there is a runtime."""
    return os.environ.get("RANK", "0") == "0"


def _is_importing(frame: object) -> bool:
    """Return True if a module is imported in this frame or one that called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # type: ignore[attr-defined]
            return True
        frame = frame.f_back  # type: ignore[attr-defined]
    return False


def _is_terminal() -> bool:
    try:
        return os.isatty(2)
    except OSError:
        return False


def _write(text: str) -> None:
    # Not through `sys.stderr`, whose lock the main thread may hold.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
