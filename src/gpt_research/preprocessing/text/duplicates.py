"""Find copies: texts equal but for surrounding white space, and texts that share most of their words.

A task turns its texts into arrays, one reduce step compares the arrays of all tasks:

    text_hashes(texts) ---------------------------> exact_duplicates --> the document each one copies
    hash_words(texts) --> MinHash.signatures -----> near_duplicates ---> the one it is near to, its cluster
                                                          group_keys --> what the split hashes

Every answer depends on the documents and their order alone: not on tasks, workers, batches or the machine.
Documents are named by their index over all tasks in order, and the first of its kind is the one to keep.
Cost of the reduce step: 16 bytes a document for `text_hashes` and 128 for the signatures (either may be a
memory map), and while it runs about 60 more.

Near means that the sets of 5-word shingles overlap by half or more (Jaccard similarity, `MinHash.threshold`);
a text inside a much longer one is not near it. Knows nothing about readers, files and tokens.
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

_ROUNDS = 24  # of Fast Similarity Sketching before the empty places are filled one by one
_LEADERS = 100  # kept in one cluster before its rest is kept unseen
_PAIRS = 1 << 16  # compared at once: what they need stays in the processor's cache

# -- signatures ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MinHash:
    """How similar texts are found; the defaults find copies with one word in twenty changed.

    Signatures are Fast Similarity Sketches (Dahlgaard, Knudsen, Thorup, FOCS 2017: as good as that many
    independent permutations, for the price of about one) of which one byte each is kept (b-bit minwise
    hashing, Li and Koenig, WWW 2010). Texts that agree on all rows of a band are compared; they are near
    if the share of equal bytes says that their similarity is at least `threshold`.
    """

    ngram: int = 5
    """Words in a shingle. Five, as usual for web text: fixed phrases and forms with other names in them stay
    dissimilar, where shorter shingles count them as shared."""
    num_bands: int = 32
    """Chances for two texts to meet."""
    rows_per_band: int = 4
    """Bytes that must agree for a chance to come true; times `num_bands` the bytes of a signature."""
    threshold: float = 0.5
    """Least estimated Jaccard similarity of the shingle sets. 0.5 means two thirds of each text's shingles
    shared; the estimate's standard error there is 0.044."""
    seed: int = 1
    """Of the hash functions. Signatures compare only where all fields but `threshold` are equal."""

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
        """Return the chance that two texts of this Jaccard similarity share a band and are compared."""
        equal = similarity + (1 - similarity) / 256
        return float(1 - (1 - equal**self.rows_per_band) ** self.num_bands)

    def signatures(self, words: Words) -> np.ndarray:
        """Return the sketches (n_texts, num_hashes) uint8; all zero, and near to nothing, where a text has
        fewer than `ngram` words."""
        grams, (factors, terms) = words.ngrams(self.ngram), self._functions
        sketches = np.empty((len(words), self.num_hashes), dtype=np.uint8)
        compiled.sketch(grams.hashes, grams.offsets, factors, terms, _ROUNDS, sketches)
        return sketches

    @cached_property
    def _functions(self) -> tuple[np.ndarray, np.ndarray]:
        """Odd factors and terms (_ROUNDS + num_hashes,) uint64, the same with every numpy and machine."""
        count = _ROUNDS + self.num_hashes
        digests = (xxhash.xxh3_128_digest(f"{self.seed}:{i}".encode()) for i in range(count))
        numbers = _words_of_digests(digests)
        return numbers[:, 0] | np.uint64(1), numbers[:, 1].copy()


# -- exact duplicates ----------------------------------------------------------------------------------------


def text_hashes(texts: pa.LargeStringArray) -> np.ndarray:
    """Return (n, 2) uint64: XXH3-128 of each text's UTF-8, without white space before and after it.

    Nothing else is normalised: texts with another case or another line break are no exact duplicates. Among
    a billion texts two different ones share their 128 bits with a probability of 1e-21.
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
    """The different texts of a stream so far, numbered in their order."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def look_up(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each text of the `text_hashes`, (n,) int64, and whether it is the first of its kind."""
        known, data = self._numbers, hashes.tobytes()
        highest = len(known) - 1
        keys = (data[at : at + 16] for at in range(0, len(data), 16))
        numbers = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
        return numbers, numbers > np.maximum.accumulate(np.concatenate([[highest], numbers]))[:-1]


def exact_duplicates(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n,) int64: the first document that equals this one, itself where it is the first.

    `hashes` holds each task's `text_hashes`, tasks in order; n is their number of documents together.
    """
    keys = np.concatenate([np.empty((0, 2), dtype=np.uint64), *hashes])
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: equal texts stay in document order
    begins = np.ones(len(keys), dtype=bool)
    begins[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    originals = np.empty(len(keys), dtype=np.int64)
    originals[order] = order[begins][np.cumsum(begins) - 1]
    return originals


# -- near duplicates -----------------------------------------------------------------------------------------


def near_duplicates(signatures: Sequence[np.ndarray], minhash: MinHash) -> tuple[np.ndarray, np.ndarray]:
    """Return (originals, clusters), (n,) int64 each, from each task's `MinHash.signatures`, tasks in order.

    `originals`: the earlier document that this one is near to, itself where it is to be kept; what is kept is
    near to nothing kept before it. `clusters`: the first document of the connected group of near documents.
    A long chain of versions is one cluster, and several of it may be kept.
    """
    rows = _Rows(signatures)
    clusters = np.arange(len(rows))
    for band in range(minhash.num_bands):
        first, previous, later = _meetings(rows.band_keys(band * minhash.rows_per_band, minhash.rows_per_band))
        for earlier in (first, previous):  # who is unlike the first of the band may be like its neighbour
            for start in range(0, len(later), _PAIRS):
                a, b = earlier[start : start + _PAIRS], later[start : start + _PAIRS]
                apart = _roots(clusters, a) != _roots(clusters, b)
                a, b = a[apart], b[apart]
                near = rows.similarity(a, b) >= minhash.threshold
                _unite(clusters, a[near], b[near])
    clusters = _roots(clusters, np.arange(len(rows)))
    return _originals(rows, clusters, minhash.threshold), clusters


def _originals(rows: _Rows, clusters: np.ndarray, threshold: float) -> np.ndarray:
    """Within each cluster keep the first, drop what is near to it, keep the first of what is left, and so on.

    After `_LEADERS` of them the rest of a cluster is kept: nothing is dropped that is not near to one kept.
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
    """Return (n,) uint64: one key for a whole cluster, for a split that keeps near-copies on one side.

    It is the hash of the cluster's first document, so documents added at the end change no key.
    """
    return np.concatenate([np.empty(0, dtype=np.uint64), *(part[:, 0] for part in hashes)])[clusters]


class _Rows:
    """The signatures of all tasks as one table, without joining them: they may be memory maps."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = [part for part in parts if len(part)]
        self.offsets = offsets_of(np.array([len(part) for part in self.parts], dtype=np.int64))
        if len(self) >= 1 << 32:
            raise UserError(f"{len(self)} documents; near duplicates are found among fewer than 2**32.")

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def band_keys(self, start: int, rows: int) -> np.ndarray:
        """(n,) uint32: a hash of the bytes `start` to `start + rows` of each signature."""
        keys = np.zeros(len(self), dtype=np.uint32)
        for part, begin in zip(self.parts, self.offsets[:-1], strict=True):
            mine = keys[begin : begin + len(part)]
            for column in range(start, start + rows):
                mine *= np.uint32(0x9E3779B1)
                mine += part[:, column]
        return keys

    def take(self, documents: np.ndarray) -> np.ndarray:
        """(m, num_hashes) uint8: the signatures of these documents."""
        taken = np.empty((len(documents), self.parts[0].shape[1]), dtype=np.uint8)
        owners = np.searchsorted(self.offsets, documents, side="right") - 1
        for owner in np.unique(owners):
            mine = owners == owner
            taken[mine] = self.parts[owner][documents[mine] - self.offsets[owner]]
        return taken

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(m,) estimated Jaccard similarity of each pair; one byte in 256 is equal by chance."""
        if not a.size:
            return np.empty(0)
        left, right = self.take(a), self.take(b)
        equal = (left == right).mean(axis=1)
        return np.where(left.any(axis=1), (equal * 256 - 1) / 255, 0.0)


def _meetings(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (first, previous, later): who shares a key with an earlier document, and with whom."""
    packed = keys.astype(np.uint64)
    packed <<= np.uint64(32)
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()  # by key, then by document: one plain sort, and no ties
    met = np.zeros(len(keys), dtype=bool)
    met[1:] = (packed[1:] >> np.uint64(32)) == (packed[:-1] >> np.uint64(32))
    repeats = np.flatnonzero(met)
    firsts = np.flatnonzero(~met)
    packed &= np.uint64(0xFFFFFFFF)
    documents = packed.astype(np.int64)
    run = np.searchsorted(firsts, repeats) - 1
    return documents[firsts[run]], documents[repeats - 1], documents[repeats]


def _roots(parents: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Follow each document up to the first one of its cluster, and shorten the way for the next time."""
    roots = parents[documents]
    while not np.array_equal(above := parents[roots], roots):
        roots = above
    parents[documents] = roots
    return roots


def _unite(parents: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Join the clusters of each pair: the later root goes under the earlier, until all pairs agree."""
    while a.size:
        a, b = _roots(parents, a), _roots(parents, b)
        apart = a != b
        a, b = a[apart], b[apart]
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
