"""Pack sequences with common beginnings into rows in which each beginning is computed once.

The choices of a question share its context, the questions of a few-shot task share the examples
before them, and the two sentences of a minimal pair share their first words. A row holds a tree of
tokens: a token stands at its depth in the tree, and attends to the tokens on its way to the root.
So every sequence gets the numbers that it would get alone.

    context: 0 1 2    choices: 3 4 | 3    becomes the row    0 1 2 3 4 3
                                          at the positions   0 1 2 3 4 3

A row of one sequence needs no mask, because plain causality is enough.

A long beginning of many sequences, such as the solved examples of a few-shot task, is computed
before them, and their rows attend to its keys and values. In one tree with it, attention would cost
more than all the rest. This module knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from gpt_research.evaluation.windows import Window
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import Cache, LayerCache, OwnKeys
from gpt_research.model.parts.attention import CausalSelfAttention
from gpt_research.model.parts.positions import Positions

LARGEST_TREE = 256
"""Tokens of a row that holds several sequences, unless three of them are longer: the cost of
attention grows with the row."""
LEAST_SHARED = 0.1
"""Share of a sequence that its row must hold already. A mask costs more than a few tokens."""


LEAST_BEGINNING = 128
"""Tokens of a beginning that is computed before its rows."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """What the sequences of several rows begin with."""

    tokens: np.ndarray
    order: int
    """Where it stands among the others."""


@dataclass
class Row:
    """A tree of tokens, and the way of each sequence through it."""

    beginning: Beginning | None = None
    """What stands before all of its sequences, and is not in the row."""
    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    """Number of tokens before each token on its way."""
    windows: list[int] = field(default_factory=list)
    """The numbers of the windows."""
    ways: list[np.ndarray] = field(default_factory=list)
    """The columns of each window's inputs."""
    branches: list[int] = field(default_factory=list)
    """How many inputs of each window were in the row before it."""

    @property
    def needs_mask(self) -> bool:
        return len(self.windows) > 1 or self.beginning is not None

    def add(self, window: int, inputs: np.ndarray, shared: int) -> None:
        """Add a window, of whose inputs the first `shared` are those of the window before it."""
        begin, new = len(self.tokens), len(inputs) - shared
        before = self.ways[-1][:shared] if shared else np.empty(0, dtype=np.int64)
        self.tokens += inputs[shared:].tolist()
        before_row = 0 if self.beginning is None else len(self.beginning.tokens)
        self.depths += range(before_row + shared, before_row + len(inputs))
        self.windows.append(window)
        self.ways.append(np.concatenate([before, np.arange(begin, begin + new)]))
        self.branches.append(shared)

    def mask(self, out: np.ndarray) -> None:
        """Set out[i, j] if token i may attend to token j; `out` (N, N) is False before."""
        for way, shared in zip(self.ways, self.branches, strict=True):
            new = way[shared:]
            out[np.ix_(new, way)] = np.tri(len(new), len(way), shared, dtype=bool)


def pack(windows: Sequence[Window], *, share: bool = True) -> list[Row]:
    """Return rows that hold all windows, each once.

    Args:
        share: put windows with a common beginning into one row; False gives each a row of its own.
    """
    inputs = [np.asarray(window.tokens[:-1], dtype=np.int64) for window in windows]
    rows: list[Row] = []
    if not share:
        for index, tokens in enumerate(inputs):
            _add_row(rows, index, tokens)
        return rows
    # In the order of a dictionary, the neighbour of a sequence shares the most with it.
    # The bytes of big-endian numbers have the order of the numbers.
    keys = [tokens.astype(">i8").tobytes() for tokens in inputs]
    order = sorted(range(len(windows)), key=keys.__getitem__)
    for number, (members, length) in enumerate(_beginnings(order, inputs, windows)):
        beginning = Beginning(inputs[members[0]][:length], number) if length else None
        last = np.empty(0, dtype=np.int64)
        for index in members:
            tokens = inputs[index][length:]
            shared = _common(last, tokens)
            fits = shared > 0 and len(rows[-1].tokens) + len(tokens) - shared <= max(LARGEST_TREE, 3 * len(tokens))
            if fits and shared >= LEAST_SHARED * len(tokens):
                rows[-1].add(index, tokens, shared)
            else:
                _add_row(rows, index, tokens, beginning)
            last = tokens
    return rows


def _add_row(rows: list[Row], index: int, tokens: np.ndarray, beginning: Beginning | None = None) -> None:
    rows.append(Row(beginning))
    rows[-1].add(index, tokens, 0)


def _beginnings(
    order: Sequence[int], inputs: Sequence[np.ndarray], windows: Sequence[Window]
) -> list[tuple[list[int], int]]:
    """Return the windows in runs, and how many tokens of each run are to be computed before it."""
    runs: list[tuple[list[int], int]] = [([], 0)]
    shared = [0, *(_common(inputs[a], inputs[b]) for a, b in pairwise(order))]
    # What is scored must be asked in a row, so it is in no beginning.
    most = [len(inputs[index]) - windows[index].scored for index in order]
    begin = 0
    while begin < len(order):
        end, length = begin + 1, most[begin]
        while end < len(order):
            both = min(length, shared[end], most[end])
            # One sequence that shares little would shorten the beginning of all others.
            if both < max(LEAST_BEGINNING, length / 2):
                break
            end, length = end + 1, both
        new = sum(len(inputs[order[n]]) - max(length, shared[n]) for n in range(begin + 1, end))
        # A pass of its own pays only if the rows after it are much longer than it is.
        if length >= LEAST_BEGINNING and new >= 2 * length:
            runs += [(list(order[begin:end]), length), ([], 0)]
        else:
            runs[-1][0].extend(order[begin:end])
        begin = end
    return [run for run in runs if run[0]]


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    length = min(len(a), len(b))
    differs = np.flatnonzero(a[:length] != b[:length])
    return int(differs[0]) if len(differs) else length


def can_share(model: GPT) -> bool:
    """Return whether a model can compute a tree.

    Its attention must take the mask that a cache gives, and add nothing that depends on the columns
    of the keys, as a bias of distances does. A part of a plugin may do either, so it is not asked.
    """
    ours = all(type(block.attention) is CausalSelfAttention for block in model.blocks)
    positions = type(model.position_embedding)
    return ours and positions.bias is Positions.bias and positions.__module__ == Positions.__module__


class Kept(Cache):
    """Keeps the keys and values of one beginning."""

    def __init__(self, layers: int, device: torch.device) -> None:
        self.device = device
        self.layers = [_KeptKeys(self) for _ in range(layers)]

    def extend(self, new_tokens: int) -> torch.Tensor:
        """Return the positions of the tokens, (T,)."""
        self.end = new_tokens
        return torch.arange(new_tokens, device=self.device)


class _KeptKeys(OwnKeys):
    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        self.keys, self.values = k, v
        return k, v, None


class _KeysAfter(OwnKeys):
    """Puts the keys and values of a beginning before those of each row."""

    def __init__(self, cache: Cache, before: LayerCache | None) -> None:
        super().__init__(cache)
        self.before = before

    def append(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        if self.before is not None:
            rows = k.size(0)
            k = torch.cat((self.before.keys.expand(rows, -1, -1, -1), k), 2)
            v = torch.cat((self.before.values.expand(rows, -1, -1, -1), v), 2)
        return k, v, self.cache.mask


class Trees(Cache):
    """What a step of trees gives to attention: positions and a mask, and no tokens from before."""

    def __init__(self, rows: Sequence[Row], layers: int, device: torch.device, before: Kept | None) -> None:
        longest, begin = max(len(row.tokens) for row in rows), 0 if before is None else before.end
        depths = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.ones((len(rows), longest, begin + longest), dtype=bool)
        # A token of the padding attends to itself, because no weights at all would be NaN.
        mask[:, :, begin:] = np.eye(longest, dtype=bool)
        for number, row in enumerate(rows):
            depths[number, : len(row.depths)] = row.depths
            row.mask(mask[number, :, begin:])
        self.depths = torch.from_numpy(depths).to(device)
        self.mask = torch.from_numpy(mask)[:, None].to(device)  # (B, 1, N, S): S = N and the beginning
        # The mask as numbers to add, once for all layers.
        self.bias = torch.zeros(self.mask.shape, device=device).masked_fill_(~self.mask, -torch.inf)
        kept = [None] * layers if before is None else before.layers
        self.layers = [_KeysAfter(self, layer) for layer in kept]

    def extend(self, new_tokens: int) -> torch.Tensor:
        """Return the positions of the tokens, (B, N)."""
        assert new_tokens == self.depths.size(1), "a tree is computed in one step"
        return self.depths


def batches(rows: Iterable[Row], tokens_per_batch: int, least: int | None = None) -> list[list[Row]]:
    """Return the rows in batches of rows of about one length, the longest first.

    If a batch does not fit the memory, the first one shows it.

    Args:
        least: tokens from which on a batch is closed rather than padded by more than a twentieth.
    """

    def place(row: Row) -> tuple[int, int, int]:
        return -1 if row.beginning is None else row.beginning.order, -row.needs_mask, -len(row.tokens)

    order = sorted(rows, key=place)
    found: list[list[Row]] = []
    for row in order:
        batch = found[-1] if found else []
        fits = bool(batch) and (batch[0].needs_mask, batch[0].beginning) == (row.needs_mask, row.beginning)
        if fits and _takes(batch, row, tokens_per_batch, least):
            batch.append(row)
        else:
            found.append([row])
    return found


def _takes(batch: Sequence[Row], row: Row, most: int, least: int | None) -> bool:
    size = (len(batch) + 1) * len(batch[0].tokens)
    used = sum(len(one.tokens) for one in batch) + len(row.tokens)
    return size <= most and (least is None or size <= least or used >= 0.95 * size)
