"""Text of a sample while it is generated: whole characters only, and no part of a stop text.

Text that may be the beginning of a stop text is held back until more tokens decide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt_research.data.tokenizer import Tokenizer


class TextStream:
    """Turns the tokens of one sample into text.

    `push` returns the new text. Once a stop text is complete, `stopped` is true and there is no
    more text. If the last token leaves a character incomplete, that character is dropped.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._decoder = tokenizer.stream_decoder()
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Add one token; return the text that is now certain, which may be none."""
        self._held += self._decoder.push(token)
        complete = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if complete:
            # The stop text that ends first counts, so the division into tokens makes no difference.
            self.stopped = True
            return self._release(min(complete)[1])
        return self._release(len(self._held) - self._possible_beginning())

    def flush(self) -> str:
        """Return the text that was held back. Call this once, after the last token."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _possible_beginning(self) -> int:
        """Return the length of the longest end of the held text with which a stop text begins."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
