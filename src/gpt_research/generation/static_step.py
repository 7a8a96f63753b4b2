"""A decoding step whose shapes never change, so that a GPU can record it and replay it.

A step of a small model is some two hundred short operations, and a GPU carries them out faster than
a program can ask for them. So the program asks once: the operations are recorded (a CUDA graph),
and from then on a token costs one launch. For that, everything that changes from token to token
lives on the device: the newest token and the length of each text, settings, and the next uniform
numbers, which are sent for many tokens at a time. The host waits for the device once a token, when
it reads what was drawn.

On a CPU the same operations run one by one, which tests use.

Shapes: R rows of the cache, spare ones too; V tokens of the vocabulary; S columns.
"""

from __future__ import annotations

import functools
from collections import abc
from dataclasses import dataclass

import torch

from gpt_research.generation.draws import seen_tokens
from gpt_research.generation.recording import Compute, recorder
from gpt_research.generation.sequence import Draw, Sequence
from gpt_research.generation.static_sampling import RowSettings, Work, power_of_two
from gpt_research.model.fast.attention import for_any_length
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import KVCache, Window

NARROWEST = 256
"""Columns of the narrowest window. For fewer, reading keys and values takes no time that counts."""
AHEAD = 64
"""Uniform numbers of each row that are sent at a time."""


@dataclass(frozen=True)
class Shape:
    """What a step computes. Steps of one shape are one recording."""

    columns: int
    work: Work
    alternatives: int


class StaticStep:
    """Decodes one token of every row of a cache, and draws the next one.

    The cache must keep its storage. If it gets another one, make a new step.
    """

    def __init__(self, model: GPT, cache: KVCache, vocab_size: int) -> None:
        self._model, self._cache, self._vocab_size = model, cache, vocab_size
        self.storage = cache.storage
        rows, device = self.storage.size(2), self.storage.device
        self._rows: abc.Sequence[Sequence] = []
        self._tokens = torch.zeros(rows, dtype=torch.long, device=device)  # the newest; the model has not read them
        self._lengths = torch.zeros(rows, dtype=torch.long, device=device)  # tokens that the model has read
        self._settings = RowSettings(rows, device)
        self._uniforms = torch.zeros(AHEAD, rows, dtype=torch.float64, device=device)
        self._tick = torch.zeros(1, dtype=torch.long, device=device)  # the row of _uniforms that is next
        self._seen: torch.Tensor | None = None  # (R, V) True if the row's text has the token
        self._left = 0  # rows of _uniforms that are not used up
        self._recorder = recorder(device)
        self._computations: dict[Shape, Compute] = {}

    def load(self, rows: abc.Sequence[Sequence]) -> None:
        """Send the state of these rows, which are the first ones of the cache, to the device."""
        self._rows = rows
        used, numbers = len(rows), RowSettings.NUMBERS
        state = torch.tensor(
            [
                [sequence.newest, length, *RowSettings.of(sequence.settings, self._vocab_size)]
                for sequence, length in zip(rows, self._cache.lengths, strict=True)
            ],
            dtype=torch.float64,
        ).to(self.storage.device)
        tokens, lengths, settings = state.split([1, 1, numbers], dim=1)
        self._tokens[:used], self._lengths[:used] = tokens[:, 0], lengths[:, 0]
        self._settings.load(settings)
        self._left = 0
        live = [sequence for sequence in rows if sequence.live]
        self._work = Work.of([sequence.settings for sequence in live], self._vocab_size)
        counts = [sequence.request.logprobs or 0 for sequence in live]
        self._alternatives = power_of_two(max(counts), at_most=self._vocab_size) if any(counts) else 0
        if self._work.penalty:
            seen = seen_tokens(rows, self._vocab_size).to(self.storage.device)
            if self._seen is None:
                self._seen = seen.new_zeros(len(self._tokens), self._vocab_size)
            self._seen[:used] = seen

    def run(self) -> list[Draw]:
        """Take one step; return the draw of each row that was loaded. Draws of rows whose sequence
        has ended mean nothing.
        """
        if not self._left:
            self._send_uniforms()
        results = self._computation()().tolist()  # here, and only here, the host waits for the device
        self._left -= 1
        self._cache.lengths = [min(length + 1, self._cache.capacity) for length in self._cache.lengths]
        return [self._draw(sequence, result) for sequence, result in zip(self._rows, results, strict=False)]

    def _computation(self) -> Compute:
        """Return the computation of the next step, in the narrowest window that holds all texts."""
        longest = max(length for length, sequence in zip(self._cache.lengths, self._rows, strict=True) if sequence.live)
        columns = window_columns(longest + 1, self._cache.capacity)
        shape = Shape(columns, self._work, self._alternatives)
        if shape not in self._computations:
            window = Window(self._cache, self._lengths, columns)
            compute = functools.partial(self._compute, shape, window)
            self._computations[shape] = self._recorder.recordable(compute)
        return self._computations[shape]

    def _compute(self, shape: Shape, window: Window) -> torch.Tensor:
        """Take one step of all rows; return (R, 2 + 2 alternatives): the token of each and its
        log-probability, then the likeliest tokens and theirs.
        """
        with for_any_length(self.storage.device):
            h = self._model.hidden(self._tokens[:, None], window)  # (R, 1, C)
        logits = self._model.logits(h[:, -1]).float()[:, : self._vocab_size]
        uniforms = self._uniforms.index_select(0, self._tick)[0]
        tokens = self._settings.choose(logits, shape.work, uniforms, self._seen)[:, None]  # (R, 1)
        scores = logits.log_softmax(-1)
        results = [tokens, scores.gather(1, tokens)]
        if shape.alternatives:
            ids = logits.topk(shape.alternatives).indices
            results += [ids, scores.gather(1, ids)]
        if shape.work.penalty and self._seen is not None:
            self._seen.scatter_(1, tokens, True)
        self._tokens.copy_(tokens[:, 0])
        self._lengths.add_(1)
        self._tick.add_(1)
        return torch.cat([result.double() for result in results], dim=1)  # float64 holds tokens exactly

    def _send_uniforms(self) -> None:
        uniforms = torch.tensor([sequence.uniforms(AHEAD) for sequence in self._rows], dtype=torch.float64)
        self._uniforms[:, : len(self._rows)] = uniforms.t().to(self._uniforms.device)
        self._tick.zero_()
        self._left = AHEAD

    def _draw(self, sequence: Sequence, result: list[float]) -> Draw:
        token, logprob, *likeliest = result
        if not (count := sequence.request.logprobs):
            return Draw(int(token), logprob)
        ids, scores = likeliest[: len(likeliest) // 2], likeliest[len(likeliest) // 2 :]
        return Draw(int(token), logprob, dict(zip(map(int, ids[:count]), scores, strict=False)))


def window_columns(tokens: int, at_most: int) -> int:
    """Return the columns of the window for a text of `tokens`: few sizes, so few recordings."""
    return power_of_two(max(tokens, NARROWEST), at_most=at_most)
