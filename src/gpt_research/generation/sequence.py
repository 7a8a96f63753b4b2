"""One text while an engine generates it. All engines use it, so stop texts mean the same in all."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpt_research.base.seeds import seed_for
from gpt_research.generation.engine import Ended, Piece, Request, Sample
from gpt_research.generation.text_stream import TextStream

if TYPE_CHECKING:
    from gpt_research.data.tokenizer import Tokenizer


class Sequence:
    """The prompt of one request, the tokens drawn so far, and the text that they make."""

    def __init__(self, id: int, request: Request, tokenizer: Tokenizer) -> None:
        self.id, self.request, self.settings = id, request, request.settings
        assert not isinstance(request.prompt, str), "`add` encodes prompts"
        self.prompt = list(request.prompt)
        self.tokens: list[int] = []
        self.alternatives = request.logprobs or 0
        """How many of the likeliest tokens are reported beside each token."""
        self.slid = False
        self.live = True
        # The stream is the sample's own, so other samples do not change it.
        self._random = random.Random(seed_for(self.settings.seed, "sample", request.number))
        self._uniforms: deque[float] = deque()
        self._end_of_text = tokenizer.end_of_text
        self._stream = TextStream(tokenizer, self.settings.stop)
        self._logprobs: list[float] = []
        self._alternatives: list[dict[int, float]] = []
        self._texts: list[str] = []
        self._reported = 0

    @property
    def newest(self) -> int:
        """The newest token of the text, which the model reads next."""
        return self.tokens[-1] if self.tokens else self.prompt[-1]

    def uniforms(self, count: int) -> list[float]:
        """Return the uniform numbers in [0, 1) of the next `count` draws; each `take` uses one
        up.
        """
        while len(self._uniforms) < count:
            self._uniforms.append(self._random.random())
        return list(itertools.islice(self._uniforms, count))

    def take(self, token: int, logprob: float, alternatives: Mapping[int, float] | None = None) -> Piece | None:
        """Add a token; return a piece if the token completes some text or ends the sample."""
        if self._uniforms:
            self._uniforms.popleft()
        self.tokens.append(token)
        self._logprobs.append(logprob)
        if alternatives is not None:
            self._alternatives.append(dict(alternatives))
        text, ended = self._read(token)
        if not text and not ended:
            return None
        self._texts.append(text)
        sample = None
        if ended:
            self.live = False
            sample = Sample("".join(self._texts), self.tokens, self._logprobs, ended)
        new = slice(self._reported, None)
        self._reported = len(self.tokens)
        return Piece(self.id, text, self.tokens[new], self._logprobs[new], self._alternatives[new], self.slid, sample)

    def _read(self, token: int) -> tuple[str, Ended | None]:
        """Return the text that a token completes, and the reason if the sample ends with it."""
        if token == self._end_of_text:
            return self._stream.flush(), "end_of_text"
        text = self._stream.push(token)
        if self._stream.stopped:
            return text, "stop"
        if len(self.tokens) == self.settings.max_new_tokens:
            return text + self._stream.flush(), "length"
        return text, None
