"""Find documents that contain passages of the benchmarks by which a model will be judged.

As in appendix C of the GPT-3 paper (Brown et al., 2020), a document overlaps a benchmark if both
have the same 13 words in a row, in lower case and without punctuation (words as in
`words.hash_words`). A passage or a document of fewer than 13 words never overlaps.

A task calls `overlaps`. Or it saves `hits`, and a later step calls `count` on those of all
documents, which can ignore phrases that many documents share. Words are compared by 64-bit hashes:
the probability that one of a trillion other 13-grams equals one of a million indexed ones by chance
is 5%.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.text import compiled
from gpt_research.preprocessing.text.words import Words, hash_words

WORDS = 13
"""Words in a row that make an overlap."""


@dataclass(frozen=True)
class BenchmarkIndex:
    """The 13-grams of one or more benchmarks. Each takes 20 to 24 bytes with its index."""

    names: tuple[str, ...]
    """The benchmarks, at most 64."""
    grams: np.ndarray
    """(m,) uint64: sorted hashes of the 13-grams, each once."""
    members: np.ndarray
    """(m,) uint64: bit j is set if benchmark j contains the 13-gram."""
    words: int = WORDS
    """Words in a row that make an overlap."""

    @classmethod
    def from_texts(cls, benchmarks: Mapping[str, Iterable[str]]) -> BenchmarkIndex:
        """Index each benchmark's passages by its name."""
        return cls.from_grams({name: grams_of(texts) for name, texts in benchmarks.items()})

    @classmethod
    def from_grams(cls, benchmarks: Mapping[str, np.ndarray], words: int = WORDS) -> BenchmarkIndex:
        """Join the results of `grams_of` for each benchmark, by its name.

        Args:
            words: of each of these grams.
        """
        grams = _different(np.concatenate([np.empty(0, dtype=np.uint64), *benchmarks.values()]))
        members = np.zeros(len(grams), dtype=np.uint64)
        for j, part in enumerate(benchmarks.values()):
            members[np.searchsorted(grams, part)] |= np.uint64(1 << j)
        return cls(tuple(benchmarks), grams, members, words)

    def overlaps(self, words: Words) -> np.ndarray:
        """Return (n_texts, n_benchmarks) int64: the number of different 13-grams that both
        share."""
        return self.count(self.hits(words), len(words))

    def hits(self, words: Words) -> np.ndarray:
        """Return (m, 2) int64: text and index in `grams` of each different 13-gram that is
        shared."""
        grams = words.ngrams(self.words)
        texts, indices = np.empty((2, len(grams.hashes)), dtype=np.int64)
        key_bits, sieve, starts = self._lookup
        count = compiled.find_known(grams.hashes, grams.offsets, self.grams, key_bits, sieve, starts, texts, indices)
        different = _different(texts[:count] * len(self.grams) + indices[:count])
        return np.stack(np.divmod(different, max(len(self.grams), 1)), axis=1)

    def count(self, hits: np.ndarray, n_texts: int, most_texts: int | None = None) -> np.ndarray:
        """Return `overlaps` from the `hits` of many tasks, whose first column is the index among
        all documents.

        A 13-gram in more than `most_texts` documents is ignored. GPT-3 took 10, because what more
        documents share is a common phrase, law or liturgy rather than the benchmark.
        """
        if most_texts is not None:
            sharing = np.bincount(hits[:, 1], minlength=len(self.grams))
            hits = hits[sharing[hits[:, 1]] <= most_texts]
        counts = np.zeros((n_texts, len(self.names)), dtype=np.int64)
        members = self.members[hits[:, 1]]
        for j in range(len(self.names)):
            counts[:, j] = np.bincount(hits[(members >> np.uint64(j)) & np.uint64(1) == 1, 0], minlength=n_texts)
        return counts

    @cached_property
    def _lookup(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Bits of a key, the sieve, and the index at which each key begins, as `kernels.find_known`
        takes them.

        On average four 13-grams share a key. So one in 150 of the 13-grams that are not in the
        index passes the sieve, which takes two megabytes for a million 13-grams.
        """
        key_bits = min(max(10, len(self.grams).bit_length() - 2), 26)
        sieve = np.zeros(1 << key_bits, dtype=np.uint64)
        compiled.fill_sieve(self.grams, key_bits, sieve)
        keys = (self.grams >> np.uint64(64 - key_bits)).astype(np.int64)
        return key_bits, sieve, np.searchsorted(keys, np.arange((1 << key_bits) + 1))


def benchmark_folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`; each has the name and the files of a benchmark.

    Raises:
        UserError: there is none, or there are more than 64.
    """
    folders = sorted(path for path in folder.glob("*") if path.is_dir())
    if not folders:
        raise UserError(f"No benchmarks in {folder}. Put each into a folder of its own there: {folder}/lambada.")
    if len(folders) > 64:
        raise UserError(f"{len(folders)} benchmarks in {folder}; at most 64 can be looked for. Take some away.")
    return folders


def grams_of(passages: Iterable[str]) -> np.ndarray:
    """Return (m,) uint64: the sorted hashes of the 13-grams of some passages, each once."""
    return _different(hash_words(list(passages)).ngrams(WORDS).hashes)


def _different(values: np.ndarray) -> np.ndarray:
    """Return the sorted values, each once; `np.unique` takes ten times as long for hashes."""
    values = np.sort(values)
    return values[np.append(values[:1] == values[:1], values[1:] != values[:-1])]
