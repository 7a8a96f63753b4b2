"""Find copies: texts that are equal except for surrounding white space, and texts that share most
of their words.

Each task turns its texts into arrays, and one reduce step compares the arrays of all tasks:

    text_hashes(texts) ---------------------------> exact_duplicates --> the document each one
    copies hash_words(texts) --> MinHash.signatures -----> near_duplicates ---> the one it is near
    to, its cluster
                                                          group_keys --> keys by which documents are
                                                          split

Every result depends on the documents and their order alone, not on tasks, workers, batches or the
machine. Documents are numbered over all tasks in order, and of equal or near documents the first is
kept. The reduce step needs, for each document, 16 bytes for `text_hashes` and 128 for the
signatures (either may be a memory map), and about 60 more while it runs.

Two texts are near if their sets of 5-word shingles overlap by half or more (Jaccard similarity,
`MinHash.threshold`). A text inside a much longer one is not near it. Knows nothing about readers,
files and tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.text import compiled
from gpt_research.preprocessing.text.arrow import bare_of, utf8_of
from gpt_research.preprocessing.text.words import Words, offsets_of

_ROUNDS = 24
"""Rounds of Fast Similarity Sketching; then slots that are still empty are filled one by one."""
_LEADERS = 100
"""Compare with at most this many kept documents of a cluster, and keep its rest."""
_PAIRS = 1 << 16
"""Pairs that are compared at once; their signatures fit into the processor's cache."""

# -- signatures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MinHash:
    """Settings of the search for near duplicates; the defaults find copies in which one word in
    twenty is changed.

    Signatures are Fast Similarity Sketches (Dahlgaard, Knudsen, Thorup, FOCS 2017), which are as
    good as that many independent permutations and cost about as much as one. One byte of each value
    is kept (b-bit minwise hashing, Li and Koenig, WWW 2010). Two texts that agree on all rows of a
    band are compared. They are near if the share of equal bytes gives an estimated similarity of at
    least `threshold`.
    """

    ngram: int = 5
    """Words in a shingle. Five is usual for web text. Shorter shingles would make texts near that
    only share fixed phrases, or a form with other names in it."""
    num_bands: int = 32
    """Bands of a signature; each is one chance for two texts to be compared."""
    rows_per_band: int = 4
    """Bytes in a band, all of which must agree."""
    threshold: float = 0.5
    """Least estimated Jaccard similarity of the shingle sets. At 0.5, two texts of equal length
    share two thirds of their shingles, and the standard error of the estimate is 0.044."""
    seed: int = 1
    """Seed of the hash functions. Compare signatures only if all fields but `threshold` are
    equal."""

    def __post_init__(self) -> None:
        for name in ("ngram", "num_bands", "rows_per_band"):
            if getattr(self, name) < 1:
                raise UserError(f"MinHash.{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.threshold <= 1:
            raise UserError(f"MinHash.threshold is {self.threshold}; it must be above 0 and at most 1.")

    @property
    def num_hashes(self) -> int:
        """Bytes in a signature."""
        return self.num_bands * self.rows_per_band

    def meeting_probability(self, similarity: float) -> float:
        """Return the probability that two texts of this Jaccard similarity are compared."""
        equal = similarity + (1 - similarity) / 256
        return float(1 - (1 - equal**self.rows_per_band) ** self.num_bands)

    def signatures(self, words: Words) -> np.ndarray:
        """Return the signatures (n_texts, num_hashes) uint8.

        The signature of a text of fewer than `ngram` words is all zero, and the text is near to no
        other.
        """
        grams, (factors, terms) = words.ngrams(self.ngram), self._functions
        sketches = np.empty((len(words), self.num_hashes), dtype=np.uint8)
        compiled.sketch(grams.hashes, grams.offsets, factors, terms, _ROUNDS, sketches)
        return sketches

    @cached_property
    def _functions(self) -> tuple[np.ndarray, np.ndarray]:
        """Odd factors and terms (_ROUNDS + num_hashes,) uint64, the same on every machine."""
        count = _ROUNDS + self.num_hashes
        digests = (xxhash.xxh3_128_digest(f"{self.seed}:{i}".encode()) for i in range(count))
        numbers = _words_of_digests(digests)
        return numbers[:, 0] | np.uint64(1), numbers[:, 1].copy()


# -- exact duplicates ------------------------------------------------------------------------------


def text_hashes(texts: pa.LargeStringArray) -> np.ndarray:
    """Return (n, 2) uint64: XXH3-128 of each text's UTF-8, without white space before and after it.

    Nothing else is normalised, so texts that differ in case or in a line break are no exact
    duplicates. The probability that two different texts among a billion have the same 128 bits is
    1e-21.
    """
    data, bounds = utf8_of(texts)
    view, bare = data.data, bare_of(texts).tolist()
    return _words_of_digests(
        xxhash.xxh3_128_digest(view[start:stop] if bare[index] else texts[index].as_py().strip().encode())
        for index, (start, stop) in enumerate(pairwise(bounds.tolist()))
    )


def _words_of_digests(digests: Iterator[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)


class KnownTexts:
    """The texts of a stream so far, each different one with a number, in order."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def look_up(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the hashed texts (n,) int64, and (n,) bool: True for a new text."""
        known, data = self._numbers, hashes.tobytes()
        highest = len(known) - 1
        keys = (data[at : at + 16] for at in range(0, len(data), 16))
        numbers = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
        return numbers, numbers > np.maximum.accumulate(np.concatenate([[highest], numbers]))[:-1]


def exact_duplicates(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n,) int64: for each document the first one that equals it, which may be the document
    itself.

    Args:
        hashes: the `text_hashes` of each task, in order; n documents together.
    """
    keys = np.concatenate([np.empty((0, 2), dtype=np.uint64), *hashes])
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable, so equal texts stay in document order
    begins = np.ones(len(keys), dtype=bool)
    begins[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    originals = np.empty(len(keys), dtype=np.int64)
    originals[order] = order[begins][np.cumsum(begins) - 1]
    return originals


# -- near duplicates -------------------------------------------------------------------------------


def near_duplicates(signatures: Sequence[np.ndarray], minhash: MinHash) -> tuple[np.ndarray, np.ndarray]:
    """Return (originals, clusters), (n,) int64 each, from the `MinHash.signatures` of each task, in
    order.

    `originals` has for each document an earlier one that is near to it and kept, or the document
    itself if it is kept. A kept document is near to no other kept one before it. `clusters` has the
    first document of the connected group of near documents. A long chain of versions is one
    cluster, of which several may be kept.
    """
    rows = _Rows(signatures)
    clusters = np.arange(len(rows))
    for band in range(minhash.num_bands):
        first, previous, later = _meetings(rows.band_keys(band * minhash.rows_per_band, minhash.rows_per_band))
        # A document that is unlike the first of the band may be like the one before it.
        for earlier in (first, previous):
            for start in range(0, len(later), _PAIRS):
                a, b = earlier[start : start + _PAIRS], later[start : start + _PAIRS]
                apart = _roots(clusters, a) != _roots(clusters, b)
                a, b = a[apart], b[apart]
                near = rows.similarity(a, b) >= minhash.threshold
                _unite(clusters, a[near], b[near])
    clusters = _roots(clusters, np.arange(len(rows)))
    return _originals(rows, clusters, minhash.threshold), clusters


def _originals(rows: _Rows, clusters: np.ndarray, threshold: float) -> np.ndarray:
    """In each cluster keep the first document, drop those near to it, keep the first of the rest,
    and so on.

    After `_LEADERS` kept documents the rest of a cluster is kept, because a document is only
    dropped if it was compared with a kept one and is near to it.
    """
    originals = np.arange(len(clusters))
    rest = np.flatnonzero(clusters != originals)
    leaders = clusters[rest]
    for _ in range(_LEADERS):
        near = np.zeros(len(rest), dtype=bool)
        for start in range(0, len(rest), _PAIRS):
            part = slice(start, start + _PAIRS)
            near[part] = rows.similarity(leaders[part], rest[part]) >= threshold
        originals[rest[near]] = leaders[near]
        rest = rest[~near]
        _, first, cluster = np.unique(clusters[rest], return_index=True, return_inverse=True)
        leaders, following = rest[first][cluster], np.ones(len(rest), dtype=bool)
        following[first] = False
        rest, leaders = rest[following], leaders[following]
        if not rest.size:
            break
    return originals


def group_keys(hashes: Sequence[np.ndarray], clusters: np.ndarray) -> np.ndarray:
    """Return (n,) uint64: one key for all documents of a cluster, so that near copies go to the
    same split.

    The key is the hash of the cluster's first document, so documents that are added at the end
    change no key.
    """
    return np.concatenate([np.empty(0, dtype=np.uint64), *(part[:, 0] for part in hashes)])[clusters]


class _Rows:
    """The signatures of all tasks as one table, not joined, because they may be memory maps."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = [part for part in parts if len(part)]
        self.offsets = offsets_of(np.array([len(part) for part in self.parts], dtype=np.int64))
        if len(self) >= 1 << 32:
            raise UserError(f"{len(self)} documents; near duplicates are found among fewer than 2**32.")

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def band_keys(self, start: int, rows: int) -> np.ndarray:
        """Return (n,) uint32: a hash of the bytes `start` to `start + rows` of each signature."""
        keys = np.zeros(len(self), dtype=np.uint32)
        for part, begin in zip(self.parts, self.offsets[:-1], strict=True):
            mine = keys[begin : begin + len(part)]
            for column in range(start, start + rows):
                mine *= np.uint32(0x9E3779B1)
                mine += part[:, column]
        return keys

    def take(self, documents: np.ndarray) -> np.ndarray:
        """Return (m, num_hashes) uint8: the signatures of these documents."""
        taken = np.empty((len(documents), self.parts[0].shape[1]), dtype=np.uint8)
        owners = np.searchsorted(self.offsets, documents, side="right") - 1
        for owner in np.unique(owners):
            mine = owners == owner
            taken[mine] = self.parts[owner][documents[mine] - self.offsets[owner]]
        return taken

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (m,) the estimated Jaccard similarity of each pair."""
        if not a.size:
            return np.empty(0)
        left, right = self.take(a), self.take(b)
        equal = (left == right).mean(axis=1)
        return np.where(left.any(axis=1), (equal * 256 - 1) / 255, 0.0)  # one in 256 is equal by chance


def _meetings(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (first, previous, later): documents that share a key with an earlier one, and the
    first and the last such."""
    packed = keys.astype(np.uint64)
    packed <<= np.uint64(32)
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()  # by key, then by document, without ties
    met = np.zeros(len(keys), dtype=bool)
    met[1:] = (packed[1:] >> np.uint64(32)) == (packed[:-1] >> np.uint64(32))
    repeats = np.flatnonzero(met)
    firsts = np.flatnonzero(~met)
    packed &= np.uint64(0xFFFFFFFF)
    documents = packed.astype(np.int64)
    run = np.searchsorted(firsts, repeats) - 1
    return documents[firsts[run]], documents[repeats - 1], documents[repeats]


def _roots(parents: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the first document of the cluster of each (union-find, with path compression)."""
    roots = parents[documents]
    while not np.array_equal(above := parents[roots], roots):
        roots = above
    parents[documents] = roots
    return roots


def _unite(parents: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Join the clusters of each pair: the later root goes under the earlier one."""
    while a.size:
        a, b = _roots(parents, a), _roots(parents, b)
        apart = a != b
        a, b = a[apart], b[apart]
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
