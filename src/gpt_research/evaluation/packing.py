"""Pack sequences with common beginnings into rows in which each beginning is computed once.

The choices of a question share its context, the questions of a few-shot task share the examples
before them, and the two sentences of a minimal pair share their first words. A row holds a tree of
tokens: a token stands at its depth in the tree, and attends to the tokens on its way to the root.
So every sequence gets the numbers that it would get alone.

    context: 0 1 2    choices: 3 4 | 3    becomes the row    0 1 2 3 4 3
                                          at the positions   0 1 2 3 4 3

A row of one sequence needs no mask, because plain causality is enough. This module knows nothing of
text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gpt_research.evaluation.windows import Window
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import Cache, OwnKeys
from gpt_research.model.parts.attention import CausalSelfAttention
from gpt_research.model.parts.positions import Positions

LARGEST_TREE = 256
"""Tokens of a row that holds several sequences, unless three of them are longer: the cost of
attention grows with the row."""
LEAST_SHARED = 0.1
"""Share of a sequence that its row must hold already. A mask costs more than a few tokens."""


@dataclass
class Row:
    """A tree of tokens, and the way of each sequence through it."""

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
    def is_tree(self) -> bool:
        return len(self.windows) > 1

    def add(self, window: int, inputs: np.ndarray, shared: int) -> None:
        """Add a window, of whose inputs the first `shared` are those of the window before it."""
        begin, new = len(self.tokens), len(inputs) - shared
        before = self.ways[-1][:shared] if shared else np.empty(0, dtype=np.int64)
        self.tokens += inputs[shared:].tolist()
        self.depths += range(shared, len(inputs))
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
    if not share:
        return [_row_of(index, tokens) for index, tokens in enumerate(inputs)]
    # In the order of a dictionary, the neighbour of a sequence shares the most with it.
    # The bytes of big-endian numbers have the order of the numbers.
    keys = [tokens.astype(">i8").tobytes() for tokens in inputs]
    rows: list[Row] = []
    last = np.empty(0, dtype=np.int64)
    for index in sorted(range(len(windows)), key=keys.__getitem__):
        tokens = inputs[index]
        shared = _common(last, tokens)
        fits = bool(rows) and len(rows[-1].tokens) + len(tokens) - shared <= max(LARGEST_TREE, 3 * len(tokens))
        if fits and shared >= max(1, LEAST_SHARED * len(tokens)):
            rows[-1].add(index, tokens, shared)
        else:
            rows.append(_row_of(index, tokens))
        last = tokens
    return rows


def _row_of(index: int, tokens: np.ndarray) -> Row:
    row = Row()
    row.add(index, tokens, 0)
    return row


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


class Trees(Cache):
    """What a step of trees gives to attention: positions and a mask, and no tokens from before."""

    def __init__(self, rows: Sequence[Row], layers: int, device: torch.device) -> None:
        longest = max(len(row.tokens) for row in rows)
        depths = np.zeros((len(rows), longest), dtype=np.int64)
        # A token of the padding attends to itself, because no weights at all would be NaN.
        mask = np.broadcast_to(np.eye(longest, dtype=bool), (len(rows), longest, longest)).copy()
        for number, row in enumerate(rows):
            depths[number, : len(row.depths)] = row.depths
            row.mask(mask[number])
        self.depths = torch.from_numpy(depths).to(device)
        self.mask = torch.from_numpy(mask)[:, None].to(device)  # (B, 1, N, N)
        # The mask as numbers to add, once for all layers.
        self.bias = torch.zeros(self.mask.shape, device=device).masked_fill_(~self.mask, -torch.inf)
        self.layers = [OwnKeys(self) for _ in range(layers)]

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
    order = sorted(rows, key=lambda row: (-row.is_tree, -len(row.tokens)))
    found: list[list[Row]] = []
    for row in order:
        batch = found[-1] if found else []
        fits = bool(batch) and batch[0].is_tree == row.is_tree
        if fits and _takes(batch, row, tokens_per_batch, least):
            batch.append(row)
        else:
            found.append([row])
    return found


def _takes(batch: Sequence[Row], row: Row, most: int, least: int | None) -> bool:
    size = (len(batch) + 1) * len(batch[0].tokens)
    used = sum(len(one.tokens) for one in batch) + len(row.tokens)
    return size <= most and (least is None or size <= least or used >= 0.95 * size)
