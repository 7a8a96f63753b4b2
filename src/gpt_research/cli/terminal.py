"""What reaches the user's screen: generated text on standard output, everything said about it on standard error."""

from __future__ import annotations

import sys
from typing import TextIO


def say(message: str) -> None:
    """Tell the user on standard error."""
    print(message, file=sys.stderr, flush=True)


class Terminal:
    """Standard output, safe for what a model may write."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        # A model can write any character; on a screen control characters would do more than show themselves.
        controls = [*range(32), *range(127, 160)] if out.isatty() else []
        self._shown = {code: "\ufffd" for code in controls if chr(code) not in "\n\t"}

    def write(self, text: str) -> None:
        """Show text at once."""
        text = text.translate(self._shown)
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()
