"""From tokens to the text a reader may see: whole characters only, and nothing of a stop text.

What might be the beginning of a stop text is held back until it is clear that it is not one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_research.data.tokenizer import Tokenizer


class TextStream:
    """The text of one sample as its tokens come.

    `push` returns what is new; after a stop text was met, `stopped` is true and nothing more comes. A character
    that the last token leaves incomplete is dropped.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._decoder = tokenizer.stream_decoder()
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take one token; return the text that is now certain, often none."""
        self._held += self._decoder.push(token)
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:  # the one complete first counts, so that it does not matter how text is cut into tokens
            self.stopped = True
            return self._release(min(found)[1])
        return self._release(len(self._held) - self._possible_beginning())

    def flush(self) -> str:
        """Return what was held back; call it once, after the last token."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _possible_beginning(self) -> int:
        """Return the length of the longest end of the held text that a stop text begins with."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
