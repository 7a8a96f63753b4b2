"""The order in which training reads its data: a pure function of (seed, sample).

The samples of a run are numbered 0, 1, 2, ... over all steps and ranks. Sample i is one window of
one corpus:

- Which corpus: samples come in blocks of `MIX_BLOCK`. Every block holds the same number of samples
  of each corpus, in proportion to the weights, and shuffles them by (seed, block).
- Which window: sample j of a corpus is window number j of a shuffled pass over all its windows. A
  pass is a permutation that is computed point by point (a Feistel network), so that no list of
  windows is held in memory, however large the data is. Each pass has a permutation of its own.

This module knows nothing about files, tokens or batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gpt_research.base.errors import UserError, closest

MIX_BLOCK = 4096
"""Samples after which the mix of corpora repeats, in another order."""


class Permutation:
    """A pseudo-random permutation of range(n), evaluated at any positions without a table.

    A balanced Feistel network of four rounds permutes the smallest range of 2**k numbers, k even,
    that covers n. A result of n or above is permuted again until it is below n (cycle walking:
    Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """

    ROUNDS = 4

    def __init__(self, n: int, key: tuple[int, ...]) -> None:
        assert n >= 1, "a permutation needs at least one element"
        self.n = n
        self.half_bits = max(1, (int(n - 1).bit_length() + 1) // 2)
        self.keys = np.random.SeedSequence(key).generate_state(self.ROUNDS, np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Map positions (m,) int64 in range(n) to elements (m,) int64."""
        return self._walk(positions, self._rounds)

    def inverse(self, elements: np.ndarray) -> np.ndarray:
        """Map elements (m,) int64 in range(n) back to the positions (m,) int64 that they are at."""
        return self._walk(elements, self._rounds_back)

    def _walk(self, numbers: np.ndarray, permute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Permute numbers until they are below n."""
        out = permute(numbers.astype(np.uint64))
        outside = np.flatnonzero(out >= self.n)
        while len(outside):
            out[outside] = permute(out[outside])
            outside = outside[out[outside] >= self.n]
        return out.astype(np.int64)

    def _rounds(self, x: np.ndarray) -> np.ndarray:
        left, right = self._halves(x)
        for key in self.keys:
            left, right = right, left ^ self._hash(right, key)
        return (left << np.uint64(self.half_bits)) | right

    def _rounds_back(self, x: np.ndarray) -> np.ndarray:
        left, right = self._halves(x)
        for key in self.keys[::-1]:
            left, right = right ^ self._hash(left, key), left
        return (left << np.uint64(self.half_bits)) | right

    def _halves(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bits = np.uint64(self.half_bits)
        return x >> bits, x & ((np.uint64(1) << bits) - np.uint64(1))

    def _hash(self, half: np.ndarray, key: np.uint64) -> np.ndarray:
        """Return `half_bits` bits that depend on a half and the key of a round."""
        # Products of uint64 wrap around, which is what this hash needs.
        mixed = (half + key) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        return (mixed >> np.uint64(32)) & ((np.uint64(1) << np.uint64(self.half_bits)) - np.uint64(1))


class SampleOrder:
    """Gives the corpus and the window of every sample of a run."""

    def __init__(
        self, num_windows: Mapping[str, int], weights: Mapping[str, float], seed: int, temperature: float = 1.0
    ) -> None:
        """Fix the order.

        Args:
            num_windows: windows in each corpus.
            weights: share of each corpus; if it is empty, shares go by size.
            temperature: T in a corpus's share by size, n**(1/T) / sum of n**(1/T). 1 is in
                proportion to size; infinity would give all corpora the same share. Conneau et al.
                2020 (XLM-R, section 3.1) state it as p**alpha with alpha = 1/T = 0.3; Arivazhagan
                et al. 2019 state it as a temperature of 5.

        Raises:
            UserError: a weight names a corpus that does not exist or holds no window, or no weight
                is above 0.
        """
        self.seed, self.temperature = seed, temperature
        self.names = list(num_windows)
        self.num_windows = np.array([num_windows[name] for name in self.names], dtype=np.int64)
        self.quota = self._quotas(dict(weights))
        self.corpora = np.repeat(np.arange(len(self.names)), self.quota)  # (MIX_BLOCK,)
        self._permutations: dict[tuple[int, int], Permutation] = {}

    def _quotas(self, weights: dict[str, float]) -> np.ndarray:
        """Return the samples of each corpus in a block, by the method of the largest remainder.

        A corpus with a weight above 0 gets at least one.
        """
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
        """Return corpus, window and pass of each sample of a block, each (MIX_BLOCK,) int64."""
        corpus = self._corpora_of(number)
        window, epoch = np.empty(MIX_BLOCK, np.int64), np.empty(MIX_BLOCK, np.int64)
        for index in np.flatnonzero(self.quota):
            mine = corpus == index
            j = number * self.quota[index] + np.arange(self.quota[index])
            epoch[mine], position = np.divmod(j, self.num_windows[index])
            window[mine] = self._windows(int(index), epoch[mine], position)
        return corpus, window, epoch

    def _corpora_of(self, number: int) -> np.ndarray:
        """Return the corpus of each sample of a block, (MIX_BLOCK,) int64."""
        return np.random.default_rng((self.seed, 1, number)).permutation(self.corpora)

    def _windows(self, corpus: int, epochs: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the window at each position of the pass that it belongs to."""
        out = np.empty_like(positions)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            out[mine] = self._permutation(corpus, int(epoch))(positions[mine])
        return out

    def _permutation(self, corpus: int, epoch: int) -> Permutation:
        key = (corpus, epoch)
        if key not in self._permutations:
            if len(self._permutations) > 256:
                self._permutations.clear()
            self._permutations[key] = Permutation(int(self.num_windows[corpus]), self.stream(2, corpus, epoch))
        return self._permutations[key]

    def stream(self, purpose: int, corpus: int, *place: int) -> tuple[int, ...]:
        """Return the key of a random stream for a corpus, which `corpus` gives by its index."""
        # The key holds the corpus's name, so that adding a corpus does not reshuffle the others.
        return (self.seed, purpose, int.from_bytes(self.names[corpus].encode(), "little"), *place)

    def epochs(self, corpus: str, samples: range) -> range:
        """Return the passes over a corpus that blocks with these samples of the run belong to."""
        quota, windows = (int(counts[self.names.index(corpus)]) for counts in (self.quota, self.num_windows))
        if not samples or not quota or not windows:
            return range(0)
        first = samples[0] // MIX_BLOCK * quota
        last = (samples[-1] // MIX_BLOCK + 1) * quota - 1
        return range(first // windows, last // windows + 1)

    def samples_of(self, corpus: str, epoch: int, windows: np.ndarray) -> np.ndarray:
        """Return the samples (m,) int64 at which a pass over a corpus reads windows (m,): the
        inverse of `block`.
        """
        index = self.names.index(corpus)
        assert self.quota[index] > 0, "a corpus without a share is never read"
        j = epoch * self.num_windows[index] + self._permutation(index, epoch).inverse(windows)
        if self.quota[index] == MIX_BLOCK:  # the only corpus has every place of a block
            return j
        blocks, nth = np.divmod(j, self.quota[index])
        out = np.empty_like(j)
        for number in np.unique(blocks):
            mine = blocks == number
            out[mine] = number * MIX_BLOCK + self._places(int(number), index)[nth[mine]]
        return out

    def _places(self, number: int, corpus: int) -> np.ndarray:
        """Return the places within a block that hold samples of a corpus."""
        return np.flatnonzero(self._corpora_of(number) == corpus)

    def passes(self, samples: int) -> dict[str, float]:
        """Return how often `samples` samples read each corpus in whole, by its name."""
        share = self.quota / MIX_BLOCK * samples
        return {
            name: float(count / windows) if windows else 0.0
            for name, count, windows in zip(self.names, share, self.num_windows, strict=True)
        }
