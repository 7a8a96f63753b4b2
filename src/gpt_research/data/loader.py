"""Batches for training: a batch is a pure function of (seed, step), so that nothing need be saved but the step.

The samples of a run are numbered 0, 1, 2, ... over all steps and ranks. Sample i is a window of a corpus:

- Which corpus: samples come in blocks of 4,096. Every block holds the same number of each corpus, in proportion to the
  weights, in an order shuffled by (seed, block).
- Which window: the j-th sample of a corpus is the window at place j of a shuffled pass over all of them. A pass is
  a permutation computed point by point (a Feistel network), so that no list of windows lies in memory,
  however large the data; each pass has its own.

Ranks take turns in one global order, so the tokens of a step do not depend on the number of ranks.
Knows nothing about models; gives plain torch tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from gpt_research.base.errors import UserError, closest
from gpt_research.config import TrainConfig
from gpt_research.data.shards import TokenFiles, gather

MIX_BLOCK = 4096


class Permutation:
    """A pseudo-random permutation of range(n), evaluated at any places without a table.

    A balanced Feistel network of four rounds over the smallest even number of bits that covers n; places that fall
    outside of n walk on until they land inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """

    ROUNDS = 4

    def __init__(self, n: int, key: tuple[int, ...]) -> None:
        assert n >= 1, "a permutation needs at least one element"
        self.n = n
        self.half_bits = max(1, (int(n - 1).bit_length() + 1) // 2)
        self.keys = np.random.SeedSequence(key).generate_state(self.ROUNDS, np.uint64)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Map places (m,) int64 in range(n) to elements (m,) int64."""
        out = self._rounds(places.astype(np.uint64))
        outside = np.flatnonzero(out >= self.n)
        while len(outside):
            out[outside] = self._rounds(out[outside])
            outside = outside[out[outside] >= self.n]
        return out.astype(np.int64)

    def _rounds(self, x: np.ndarray) -> np.ndarray:
        bits, mask = np.uint64(self.half_bits), np.uint64((1 << self.half_bits) - 1)
        left, right = x >> bits, x & mask
        for key in self.keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)  # wraps, as intended
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        return (left << bits) | right


class SampleOrder:
    """Says for every sample of a run which corpus and which window it is."""

    def __init__(
        self, num_windows: Mapping[str, int], weights: Mapping[str, float], seed: int, temperature: float = 1.0
    ) -> None:
        """Fix the order.

        Args:
            num_windows: windows in each corpus.
            weights: share of each corpus; empty for shares by size.
            temperature: T in a corpus's share by size, n**(1/T) / sum of n**(1/T). 1 is by size, infinity would be
                the same share for all. Conneau et al. 2020 (XLM-R, section 3.1) state it as p**alpha with
                alpha = 1/T = 0.3; Arivazhagan et al. 2019 as a temperature, 5.

        Raises:
            UserError: a weight for a corpus that is not there or holds no window, or no weight above 0.
        """
        self.seed, self.temperature = seed, temperature
        self.names = list(num_windows)
        self.num_windows = np.array([num_windows[name] for name in self.names], dtype=np.int64)
        self.quota = self._quotas(dict(weights))
        self.corpora = np.repeat(np.arange(len(self.names)), self.quota)  # (MIX_BLOCK,)
        self._permutations: dict[tuple[int, int], Permutation] = {}

    def _quotas(self, weights: dict[str, float]) -> np.ndarray:
        """Samples of each corpus in a block, by largest remainder; a corpus with any weight gets at least one."""
        for name, weight in weights.items():
            if name not in self.names:
                raise UserError(
                    f"weights.{name}: the data has no corpus of that name, only {', '.join(self.names)}."
                    + closest(name, self.names)
                )
            if weight > 0 and self.num_windows[self.names.index(name)] == 0:
                raise UserError(f"weights.{name} is {weight}, but {name} holds no window of the context length.")
        share = np.array(
            [
                weights.get(name, 0.0) if weights else float(n) ** (1 / self.temperature)
                for name, n in zip(self.names, self.num_windows, strict=True)
            ]
        )
        if share.sum() <= 0:
            raise UserError("No corpus has a weight above 0. Give at least one with --weights.NAME.")
        exact = share / share.sum() * MIX_BLOCK
        quota = np.where(share > 0, np.maximum(np.floor(exact).astype(np.int64), 1), 0)
        while quota.sum() < MIX_BLOCK:
            quota[np.argmax(np.where(share > 0, exact - quota, -np.inf))] += 1
        while quota.sum() > MIX_BLOCK:
            quota[np.argmax(np.where(quota > 1, quota - exact, -np.inf))] -= 1
        return quota

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return corpus, window and pass, each (MIX_BLOCK,), of the samples from number * MIX_BLOCK on."""
        corpus = np.random.default_rng((self.seed, 1, number)).permutation(self.corpora)
        window, epoch = np.empty(MIX_BLOCK, np.int64), np.empty(MIX_BLOCK, np.int64)
        for index in np.flatnonzero(self.quota):
            mine = corpus == index
            j = number * self.quota[index] + np.arange(self.quota[index])
            epoch[mine], place = np.divmod(j, self.num_windows[index])
            window[mine] = self._windows(int(index), epoch[mine], place)
        return corpus, window, epoch

    def _windows(self, corpus: int, epochs: np.ndarray, places: np.ndarray) -> np.ndarray:
        out = np.empty_like(places)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            out[mine] = self._permutation(corpus, int(epoch))(places[mine])
        return out

    def _permutation(self, corpus: int, epoch: int) -> Permutation:
        key = (corpus, epoch)
        if key not in self._permutations:
            if len(self._permutations) > 256:
                self._permutations.clear()
            # Keyed by the corpus's name, so that adding a corpus does not reshuffle the others.
            name = int.from_bytes(self.names[corpus].encode(), "little")
            n = int(self.num_windows[corpus])
            self._permutations[key] = Permutation(n, (self.seed, 2, name, epoch))
        return self._permutations[key]

    def passes(self, samples: int) -> dict[str, float]:
        """Return how often each corpus is read over in `samples` samples."""
        share = self.quota / MIX_BLOCK * samples
        return {
            name: float(count / windows) if windows else 0.0
            for name, count, windows in zip(self.names, share, self.num_windows, strict=True)
        }


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
    ) -> None:
        """Fix the order of samples.

        Args:
            weights, temperature: how corpora are mixed, as `SampleOrder` takes them.
            samples_per_step: windows of one optimizer step over all ranks.
            vocab_size: refuse tokens from this on, which no embedding has a row for.
        """
        assert samples_per_step % (micro_batch * world_size) == 0, "a step must divide over ranks and micro-batches"
        self.files = list(files.values())
        self.order = SampleOrder({name: f.num_windows for name, f in files.items()}, weights, seed, temperature)
        self.samples_per_step = samples_per_step
        self.micro_batch = micro_batch
        self.micro_steps = samples_per_step // (micro_batch * world_size)
        self.rank, self.world_size, self.vocab_size = rank, world_size, vocab_size
        self.block_size = self.files[0].block_size
        self._block = -1
        self._plan: list[tuple[np.ndarray, int]] = []

    @classmethod
    def of_run(
        cls, config: TrainConfig, files: Mapping[str, TokenFiles], rank: int = 0, world_size: int = 1
    ) -> DataLoader:
        """Return what the run of `config` reads with."""
        return cls(
            files,
            config.weights,
            samples_per_step=config.tokens_per_step // config.model.block_size,
            micro_batch=config.micro_batch,
            seed=config.seed,
            rank=rank,
            world_size=world_size,
            vocab_size=config.model.vocab_size,
            temperature=config.mix_temperature,
        )

    def batch(self, step: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and targets of a micro-batch, each (micro_batch, block_size) int64.

        Raises:
            UserError: a token outside of the vocabulary.
        """
        gathered = gather(self.places(step, micro_step), self.block_size)
        if self.vocab_size is not None and gathered.max() >= self.vocab_size:
            raise UserError(
                f"A shard holds the token {gathered.max()}, but the vocabulary has {self.vocab_size} entries: it is "
                "damaged or of another tokenizer. Find it with --verify_data, or run preprocessing again."
            )
        windows = torch.from_numpy(gathered)
        return windows[:, :-1], windows[:, 1:]

    def places(self, step: int, micro_step: int) -> list[tuple[np.ndarray, int]]:
        """Return for each sample of a micro-batch the tokens of its shard and where in them it begins."""
        first = step * self.samples_per_step
        first += (micro_step * self.world_size + self.rank) * self.micro_batch
        block, begin = divmod(first, MIX_BLOCK)
        found: list[tuple[np.ndarray, int]] = []
        while len(found) < self.micro_batch:  # a micro-batch may go on in the next block
            found += self._planned(block)[begin : begin + self.micro_batch - len(found)]
            block, begin = block + 1, 0
        return found

    def _planned(self, block: int) -> list[tuple[np.ndarray, int]]:
        """Locate the samples of a block; the last one stays at hand, for its micro-batches follow each other."""
        if block != self._block:
            corpus, window, epoch = self.order.block(block)
            shards, starts = np.empty(MIX_BLOCK, np.int64), np.empty(MIX_BLOCK, np.int64)
            for index in np.unique(corpus):
                mine = corpus == index
                shards[mine], starts[mine] = self.files[index].locate(window[mine], shift=epoch[mine] * 7919)
            arrays = [self.files[c].arrays[s] for c, s in zip(corpus.tolist(), shards.tolist(), strict=True)]
            self._plan = list(zip(arrays, starts.tolist(), strict=True))
            self._block = block
        return self._plan


def evaluation_batches(
    files: TokenFiles, max_tokens: int | None, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield tokens and targets, each (batch_size, block_size), that cover a split once; no randomness.

    Every token but the first of a shard is a target once; places without one hold -1, as do the rows that fill
    the last batch. With `max_tokens`, about so many are taken in windows evenly spread over the split.
    """
    T = files.block_size
    starts = [(a, t) for a in files.arrays for t in range(0, len(a) - 1, T)]
    if max_tokens is not None and len(starts) * T > max_tokens:
        count = max(1, max_tokens // T)
        starts = [starts[i * len(starts) // count] for i in range(count)]
    mine = starts[rank::world_size]
    # Every rank gives as many batches, the last ones empty where it has fewer: models that are sharded run together.
    for first in range(0, -(-len(starts) // world_size), batch_size):
        tokens = np.zeros((batch_size, T), dtype=np.int64)
        targets = np.full((batch_size, T), -1, dtype=np.int64)
        for row, (array, start) in enumerate(mine[first : first + batch_size]):
            window = array[start : start + T + 1]
            tokens[row, : len(window) - 1] = window[:-1]
            targets[row, : len(window) - 1] = window[1:]
        yield torch.from_numpy(tokens), torch.from_numpy(targets)
