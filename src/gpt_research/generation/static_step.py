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
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gpt_research.generation.draws import Draw, Row, seen_tokens
from gpt_research.generation.recording import Compute, recorder
from gpt_research.generation.static_sampling import RowSettings, Work, power_of_two
from gpt_research.model.fast.attention import for_any_length
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import KVCache, Window

NARROWEST = 256
"""Columns of the narrowest window: a guess at where reading keys and values begins to take time. No
card has measured it."""
AHEAD = 64
"""Uniform numbers of each row that are sent at a time."""
MOST_RECORDINGS = 32
"""Recordings that are kept at a time. Each kind of settings in the batch has one of its own."""


@dataclass(frozen=True)
class Shape:
    """What a step computes. Steps of one shape are one recording."""

    columns: int
    work: Work
    alternatives: int


class DeviceRows:
    """What changes from token to token, on the device, and the computation of one step from it."""

    def __init__(self, model: GPT, cache: KVCache, vocab_size: int) -> None:
        self._model, self._cache, self._vocab_size = model, cache, vocab_size
        rows, self._device = cache.storage.size(2), cache.storage.device
        self._tokens = torch.zeros(rows, dtype=torch.long, device=self._device)  # the model has not read them
        self._lengths = torch.zeros(rows, dtype=torch.long, device=self._device)  # tokens that it has read
        self._settings = RowSettings(rows, self._device)
        self._uniforms = torch.zeros(AHEAD, rows, dtype=torch.float64, device=self._device)
        self._tick = torch.zeros(1, dtype=torch.long, device=self._device)  # which of the uniforms is next
        self._seen: torch.Tensor | None = None  # (R, V) True if the row's text has the token

    def window(self, columns: int) -> Window:
        """Return a window of the cache whose lengths are those of these rows."""
        return Window(self._cache, self._lengths, columns)

    def load(self, rows: Sequence[Row], work: Work) -> None:
        """Send the state of `rows`, which are the first ones of the cache."""
        state = torch.tensor(
            [
                [row.newest, length, *RowSettings.of(row.settings, self._vocab_size)]
                for row, length in zip(rows, self._cache.lengths, strict=True)
            ],
            dtype=torch.float64,
        ).to(self._device)
        self._tokens[: len(rows)], self._lengths[: len(rows)] = state[:, 0], state[:, 1]
        self._settings.load(state[:, 2:])
        if work.penalty:
            seen = seen_tokens(rows, self._vocab_size).to(self._device)
            if self._seen is None:
                self._seen = seen.new_zeros(len(self._tokens), self._vocab_size)
            self._seen[: len(rows)] = seen

    def load_uniforms(self, rows: Sequence[Row]) -> None:
        """Send the uniform numbers of the next `AHEAD` tokens of each row."""
        uniforms = torch.tensor([row.uniforms(AHEAD) for row in rows], dtype=torch.float64)
        self._uniforms[:, : len(rows)] = uniforms.t().to(self._device)
        self._tick.zero_()

    def step(self, shape: Shape, window: Window) -> torch.Tensor:
        """Take one step of all rows; return (R, 2 + 2 alternatives): the token of each and its
        log-probability, then the likeliest tokens and theirs.
        """
        with for_any_length(self._device):
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


class StaticStep:
    """Decodes one token of every row of a cache, and draws the next one.

    The cache must keep its storage. If it gets another one, make a new step.
    """

    def __init__(self, model: GPT, cache: KVCache, vocab_size: int) -> None:
        self.storage = cache.storage
        self._cache, self._vocab_size = cache, vocab_size
        self._on_device = DeviceRows(model, cache, vocab_size)
        self._recorder = recorder(self.storage.device)
        self._computations: dict[Shape, Compute] = {}
        self._rows: Sequence[Row] = []
        self._uniforms_left = 0

    def load(self, rows: Sequence[Row]) -> None:
        """Take over these rows, which are the first ones of the cache."""
        self._rows, self._uniforms_left = rows, 0
        live = [row for row in rows if row.live]
        self._work = Work.of([row.settings for row in live], self._vocab_size)
        most = max(row.alternatives for row in live)
        self._alternatives = power_of_two(most, at_most=self._vocab_size) if most else 0
        self._on_device.load(rows, self._work)

    def run(self) -> list[Draw]:
        """Take one step; return the draw of each row that was loaded. Draws of rows whose text has
        ended mean nothing.
        """
        if not self._uniforms_left:
            self._on_device.load_uniforms(self._rows)
            self._uniforms_left = AHEAD
        results = self._computation()().tolist()  # here, and only here, the host waits for the device
        self._uniforms_left -= 1
        self._cache.lengths = [min(length + 1, self._cache.capacity) for length in self._cache.lengths]
        return [_draw(row, result) for row, result in zip(self._rows, results, strict=False)]

    def _computation(self) -> Compute:
        """Return the computation of the next step, in the narrowest window that holds all texts."""
        longest = max(length for length, row in zip(self._cache.lengths, self._rows, strict=True) if row.live)
        columns = window_columns(longest + 1, self._cache.capacity)
        shape = Shape(columns, self._work, self._alternatives)
        if shape not in self._computations:
            if len(self._computations) == MOST_RECORDINGS:
                del self._computations[next(iter(self._computations))]  # the oldest
            # The computation must not hold this object: memory of a GPU would then stay taken until
            # Python looks for circles, which it does not do while a model is trained.
            compute = functools.partial(self._on_device.step, shape, self._on_device.window(columns))
            self._computations[shape] = self._recorder.recordable(compute)
        return self._computations[shape]


def _draw(row: Row, result: list[float]) -> Draw:
    token, logprob, *likeliest = result
    if not row.alternatives:
        return Draw(int(token), logprob)
    ids, scores = likeliest[: len(likeliest) // 2], likeliest[len(likeliest) // 2 :]
    return Draw(int(token), logprob, dict(zip(map(int, ids[: row.alternatives]), scores, strict=False)))


def window_columns(tokens: int, at_most: int) -> int:
    """Return the columns of the window for a text of `tokens`: few sizes, so few recordings."""
    return power_of_two(max(tokens, NARROWEST), at_most=at_most)
