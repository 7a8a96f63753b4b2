"""Find documents that hold passages of the benchmarks a model will be judged by.

As in appendix C of the GPT-3 paper (Brown et al., 2020): a document overlaps a benchmark where 13 words in a
row are the same, lower case and without punctuation (words as in `words.hash_words`). A passage of
fewer than 13 words cannot be found, and a document of fewer never overlaps.

Tasks ask `overlaps`, or keep `hits` and let the reduce step `count` them over all documents, which can pass
over phrases that many documents share. 64-bit hashes stand for the words: a trillion foreign 13-grams meet an
index of a million by chance with a probability of 5%.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.text.words import Words, hash_words

WORDS = 13
"""Words in a row that make an overlap."""


@dataclass(frozen=True)
class BenchmarkIndex:
    """The 13-grams of one or more benchmarks; 16 bytes each, and 4 to 8 more to look them up quickly."""

    names: tuple[str, ...]
    """The benchmarks, at most 64."""
    grams: np.ndarray
    """(m,) uint64: hashes of the different 13-grams, sorted."""
    members: np.ndarray
    """(m,) uint64: bit j is set where benchmark j holds the 13-gram."""

    @classmethod
    def from_texts(cls, benchmarks: Mapping[str, Iterable[str]]) -> BenchmarkIndex:
        """Index each benchmark's passages by its name."""
        return cls.from_grams({name: grams_of(texts) for name, texts in benchmarks.items()})

    @classmethod
    def from_grams(cls, benchmarks: Mapping[str, np.ndarray]) -> BenchmarkIndex:
        """Join what `grams_of` returned for each benchmark, by its name."""
        grams = _different(np.concatenate([np.empty(0, dtype=np.uint64), *benchmarks.values()]))
        members = np.zeros(len(grams), dtype=np.uint64)
        for j, part in enumerate(benchmarks.values()):
            members[np.searchsorted(grams, part)] |= np.uint64(1 << j)
        return cls(tuple(benchmarks), grams, members)

    def overlaps(self, words: Words) -> np.ndarray:
        """Return (n_texts, n_benchmarks) int64: how many different 13-grams each text shares with each."""
        return self.count(self.hits(words), len(words))

    def hits(self, words: Words) -> np.ndarray:
        """Return (m, 2) int64, one row for each different 13-gram a text shares: text, place in `grams`."""
        from gpt_research.preprocessing.text import kernels

        grams = words.ngrams(WORDS)
        texts, places = np.empty((2, len(grams.hashes)), dtype=np.int64)
        key_bits, sieve, starts = self._lookup
        found = kernels.find_known(grams.hashes, grams.offsets, self.grams, key_bits, sieve, starts, texts, places)
        different = _different(texts[:found] * len(self.grams) + places[:found])
        return np.stack(np.divmod(different, max(len(self.grams), 1)), axis=1)

    def count(self, hits: np.ndarray, n_texts: int, most_texts: int | None = None) -> np.ndarray:
        """Return `overlaps` from the `hits` of many tasks, their first column counting over all documents.

        A 13-gram in more than `most_texts` documents is passed over. GPT-3 took 10: what more documents than
        that share is a common phrase, law or liturgy rather than the benchmark.
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
        """What `kernels.find_known` looks 13-grams up by: bits of a key, the sieve, and where each key begins.

        Four 13-grams share a key, so that of those that are not in the index one in 150 passes the sieve, which takes
        two megabytes for a million 13-grams.
        """
        from gpt_research.preprocessing.text import kernels

        key_bits = min(max(10, len(self.grams).bit_length() - 2), 26)
        sieve = np.zeros(1 << key_bits, dtype=np.uint64)
        kernels.fill_sieve(self.grams, key_bits, sieve)
        keys = (self.grams >> np.uint64(64 - key_bits)).astype(np.int64)
        return key_bits, sieve, np.searchsorted(keys, np.arange((1 << key_bits) + 1))


def benchmark_folders(folder: Path) -> list[Path]:
    """Return the folder of each benchmark in `folder`, which is named as the benchmark."""
    folders = sorted(path for path in folder.glob("*") if path.is_dir())
    if not folders:
        raise UserError(f"No benchmarks in {folder}. Put each into a folder of its own there: {folder}/lambada.")
    if len(folders) > 64:
        raise UserError(f"{len(folders)} benchmarks in {folder}; at most 64 can be looked for. Take some away.")
    return folders


def grams_of(passages: Iterable[str]) -> np.ndarray:
    """Return the different 13-grams (m,) uint64 of some passages, sorted."""
    return _different(hash_words(list(passages)).ngrams(WORDS).hashes)


def _different(values: np.ndarray) -> np.ndarray:
    """Return the different values, sorted; `np.unique` takes ten times as long for hashes."""
    values = np.sort(values)
    return values[np.append(values[:1] == values[:1], values[1:] != values[:-1])]
