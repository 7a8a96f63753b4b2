"""Output to the terminal: generated text goes to standard output, messages go to standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


def say(message: str) -> None:
    """Print a message on standard error."""
    print(message, file=sys.stderr, flush=True)


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

    def write(self, text: str) -> None:
        """Write text, and flush it so that it appears immediately."""
        text = text.translate(self._shown)
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()
