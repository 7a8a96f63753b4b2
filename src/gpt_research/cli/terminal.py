"""Output to the terminal: generated text goes to standard output, messages go to standard error."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast


def say(message: str) -> None:
    """Print a message on standard error."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def said_after_the_text(end_line: Callable[[], None]) -> Iterator[Callable[[str], None]]:
    """Yield a `say` for a block that writes text of a model: its messages appear after the block,
    because they would stand in the middle of a line. So do Python's warnings.

    Args:
        end_line: ends the line of the text. It is called if the block raises, so that the error has
            a line of its own.
    """
    held: list[str] = []
    failed: Exception | None = None
    with warnings.catch_warnings(record=True) as caught:
        try:
            yield held.append
        except Exception as error:
            end_line()
            failed = error
    for message in [*held, *(str(warning.message) for warning in caught)]:
        say(message)
    if failed is not None:
        raise failed


class _Lasting:
    """A stream for messages, whose loss is no error: a closed terminal, a full disk behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_standard_error() -> Iterator[None]:
    """Let nothing that is written on standard error inside the block raise.

    A run that trains for days must not end because the terminal that began it was closed.
    """
    before = sys.stderr
    sys.stderr = cast(TextIO, _Lasting(before))
    try:
        yield
    finally:
        sys.stderr = before


def printable(text: str) -> str:
    """Return a text without the characters that could move the cursor or change the terminal."""
    controls = [code for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"]
    return text.translate(dict.fromkeys(controls, "\ufffd")).encode("utf-8", "replace").decode()


class Terminal:
    """Standard output for text of a model, which may have any character."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        # On a screen, control characters could move the cursor or change the terminal's settings.
        controls = [*range(32), *range(127, 160)] if out.isatty() else []
        self._shown = {code: "\ufffd" for code in controls if chr(code) not in "\n\t"}
        self._line_is_open = False

    def write(self, text: str) -> None:
        """Write text, and flush it so that it appears immediately."""
        text = text.translate(self._shown)
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()
        self._line_is_open = not text.endswith("\n") if text else self._line_is_open

    def end_line(self) -> None:
        """Go to a new line, unless the text has just ended one."""
        if self._line_is_open:
            self.write("\n")
