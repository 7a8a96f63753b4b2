"""Output to the terminal: generated text goes to standard output, messages go to standard error."""

from __future__ import annotations

import sys
from typing import TextIO


def say(message: str) -> None:
    """Print a message on standard error."""
    print(message, file=sys.stderr, flush=True)


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
