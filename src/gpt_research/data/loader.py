"""Batches for training and evaluation, as plain torch tensors.

A batch of training is a pure function of (seed, step): `order.SampleOrder` numbers the samples of a
run, and a step takes the next `samples_per_step` of them. So nothing about the data is saved in a
checkpoint but the step. Ranks take turns in one global order, so the tokens of a step do not depend
on the number of ranks.

This module knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from gpt_research.base.errors import UserError
from gpt_research.data.document_order import DocumentOrder
from gpt_research.data.order import MIX_BLOCK, SampleOrder
from gpt_research.data.shards import Span, TokenFiles, gather

PASS_SHIFT = 7919
"""Tokens by which each pass moves its windows to the right (a prime), so that passes cut the text
differently."""


class DataLoader:
    """Gives the tokens of any step, for one rank among `world_size`."""

    def __init__(
        self,
        files: Mapping[str, TokenFiles],
        weights: Mapping[str, float],
        *,
        samples_per_step: int,
        micro_batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        vocab_size: int | None = None,
        temperature: float = 1.0,
        shuffle_documents: bool = False,
    ) -> None:
        """Fix the order of samples.

        Args:
            weights: how often each corpus is drawn, as in `SampleOrder`.
            temperature: of the weights that follow from the sizes, as in `SampleOrder`.
            samples_per_step: windows of one optimizer step over all ranks.
            vocab_size: if given, a token of this value or above is refused, because no embedding
                has a row for it.
            shuffle_documents: each pass reads the documents of a shard in an order of its own.
        """
        assert samples_per_step % (micro_batch * world_size) == 0, "a step must divide over ranks and micro-batches"
        self.files = list(files.values())
        self.order = SampleOrder({name: f.num_windows for name, f in files.items()}, weights, seed, temperature)
        self.samples_per_step = samples_per_step
        self.micro_batch = micro_batch
        self.micro_steps = samples_per_step // (micro_batch * world_size)
        self.rank, self.world_size, self.vocab_size = rank, world_size, vocab_size
        self.block_size = self.files[0].block_size
        self.shuffle_documents = shuffle_documents
        self._document_orders: dict[tuple[int, int, int], DocumentOrder] = {}
        self._block = -1
        self._windows_of_block: list[list[Span]] = []

    def batch(self, step: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and targets of a micro-batch: two views, each (micro_batch, block_size)
        int64.

        Raises:
            UserError: a token is outside of the vocabulary.
        """
        sequences = self.sequences(step, micro_step)
        return sequences[:, :-1], sequences[:, 1:]

    def sequences(self, step: int, micro_step: int) -> torch.Tensor:
        """Return the windows of a micro-batch, (micro_batch, block_size + 1) int64, contiguous.

        Raises:
            UserError: a token is outside of the vocabulary.
        """
        gathered = gather(self.windows(step, micro_step), self.block_size)
        if self.vocab_size is not None and gathered.max() >= self.vocab_size:
            raise UserError(
                f"A shard holds the token {gathered.max()}, but the vocabulary has {self.vocab_size} entries: it is "
                "damaged or of another tokenizer. Find it with --verify_data, or run preprocessing again."
            )
        return torch.from_numpy(gathered)

    def tokens_before(self, step: int) -> int:
        """Return how many tokens the steps before `step` read over all ranks."""
        return step * self.samples_per_step * self.block_size

    def passes_before(self, step: int) -> dict[str, float]:
        """Return how often the steps before `step` read each corpus."""
        return self.order.passes(step * self.samples_per_step)

    def windows(self, step: int, micro_step: int) -> list[list[Span]]:
        """Return the windows of a micro-batch, each as the spans of its shard that it is made of:
        one, or with `shuffle_documents` one for each document.
        """
        # Ranks take turns by micro-batches in one global order of samples.
        first = step * self.samples_per_step
        first += (micro_step * self.world_size + self.rank) * self.micro_batch
        block, begin = divmod(first, MIX_BLOCK)
        windows: list[list[Span]] = []
        # A micro-batch may continue in the next block.
        while len(windows) < self.micro_batch:
            windows += self._block_windows(block)[begin : begin + self.micro_batch - len(windows)]
            block, begin = block + 1, 0
        return windows

    def _block_windows(self, block: int) -> list[list[Span]]:
        """Return the windows of a block of samples; keep them, because the next call needs them."""
        if block != self._block:
            corpus, window, epoch = self.order.block(block)
            shards, starts = np.empty(MIX_BLOCK, np.int64), np.empty(MIX_BLOCK, np.int64)
            for index in np.unique(corpus):
                mine = corpus == index
                shards[mine], starts[mine] = self.files[index].locate(window[mine], shift=epoch[mine] * PASS_SHIFT)
            places = zip(corpus.tolist(), shards.tolist(), epoch.tolist(), starts.tolist(), strict=True)
            if self.shuffle_documents:
                self._windows_of_block = [self._shuffled(*place) for place in places]
            else:
                length, arrays = self.block_size + 1, [files.arrays for files in self.files]
                self._windows_of_block = [[(arrays[c][s], start, length)] for c, s, _, start in places]
            self._block = block
        return self._windows_of_block

    def _shuffled(self, corpus: int, shard: int, epoch: int, start: int) -> list[Span]:
        """Return the window that begins at place `start` of a shard, as a pass reads the shard."""
        array, order = self.files[corpus].arrays[shard], self.document_order(corpus, shard, epoch)
        return [(array, first, length) for first, length in order.spans(start, self.block_size + 1)]

    def document_order(self, corpus: int, shard: int, epoch: int) -> DocumentOrder:
        """Return the order of the documents of a shard in a pass; the corpus by its index."""
        key = (corpus, shard, epoch)
        if key not in self._document_orders:
            # Blocks follow each other, so only this pass and its neighbours are read soon.
            near = [old for old in self._document_orders if old[0] != corpus or abs(old[2] - epoch) <= 1]
            self._document_orders = {old: self._document_orders[old] for old in near}
            ends = self.files[corpus].document_ends(shard)
            self._document_orders[key] = DocumentOrder(ends, self.order.stream(3, corpus, shard, epoch))
        return self._document_orders[key]


def shards_by_array(files: Mapping[str, TokenFiles]) -> dict[int, tuple[str, int]]:
    """Return corpus and shard number of each array of `files`, by the array's `id`.

    `DataLoader.windows` returns arrays without names, so this finds the shard of a window.
    """
    return {id(array): (name, n) for name, tokens in files.items() for n, array in enumerate(tokens.arrays)}


def evaluation_windows(files: TokenFiles, max_tokens: int | None) -> list[tuple[np.ndarray, int]]:
    """Return the array and the first token of each window that `evaluation_batches` yields."""
    T = files.block_size
    starts = [(array, start) for array in files.arrays for start in range(0, len(array) - 1, T)]
    if max_tokens is None or len(starts) * T <= max_tokens:
        return starts
    count = max(1, max_tokens // T)
    return [starts[i * len(starts) // count] for i in range(count)]


def evaluation_batches(
    files: TokenFiles, max_tokens: int | None, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield tokens and targets, each (batch_size, block_size), that cover a split once, in order.

    Every token but the first of a shard is a target once. Positions without a target hold -1; so do
    the rows that fill up the last batch. With `max_tokens`, about that many are taken, in windows
    spread evenly over the split.
    """
    T, starts = files.block_size, evaluation_windows(files, max_tokens)
    mine = starts[rank::world_size]
    # Every rank yields the same number of batches, the last ones empty if it has fewer windows,
    # because a sharded model needs all ranks in every forward pass.
    for first in range(0, -(-len(starts) // world_size), batch_size):
        tokens = np.zeros((batch_size, T), dtype=np.int64)
        targets = np.full((batch_size, T), -1, dtype=np.int64)
        for row, (array, start) in enumerate(mine[first : first + batch_size]):
            window = array[start : start + T + 1]
            tokens[row, : len(window) - 1] = window[:-1]
            targets[row, : len(window) - 1] = window[1:]
        yield torch.from_numpy(tokens), torch.from_numpy(targets)
