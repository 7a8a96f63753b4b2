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

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import xxhash

from gpt_research.errors import UserError

_BLOCK = 1 << 16  # characters or words per numpy call: the temporaries stay in the processor's cache
_TEXTS = 1 << 9  # texts sketched together: 1 KB of table each
_LONG = 1 << 12  # shingles that fill a sketch in one round unless most of them are repeats
_ROUNDS = 24  # of Fast Similarity Sketching before the empty places are filled one by one
_LEADERS = 100  # kept in one cluster before its rest is kept unseen
_EMPTY = np.uint64(2**64 - 1)
_LETTER, _WORD, _MIX = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93  # odd 64-bit multipliers

# Scripts written without spaces (Thai, Lao, Burmese, Khmer, kana, Han): each character is a word of its own.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF)),
)
_ALONE = 1 << 31


# -- words ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Words:
    """The normalised words of a batch of texts, as 64-bit hashes; made by `hash_words`."""

    hashes: np.ndarray
    """(n_words,) uint64, text after text."""
    offsets: np.ndarray
    """(n_texts + 1,) int64: text i is `hashes[offsets[i]:offsets[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def slice(self, start: int, stop: int) -> Words:
        """Return texts `start` to `stop`, without copying."""
        offsets = self.offsets[start : stop + 1]
        return Words(self.hashes[offsets[0] : offsets[-1]], offsets - offsets[0])

    def select(self, texts: np.ndarray) -> Words:
        """Return the texts where the mask `texts` (n_texts,) is true."""
        counts = np.diff(self.offsets)
        return Words(self.hashes[np.repeat(texts, counts)], _offsets(counts[texts]))

    def ngrams(self, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the n-grams in order, in bounded pieces: hashes (m,) uint64 and their texts (m,) int64.

        A text of fewer than n words has none.
        """
        for start in range(0, len(self.hashes) - n + 1, _BLOCK):
            grams = _ngram_hashes(self.hashes[start : start + _BLOCK + n - 1], n)
            stop = start + len(grams)
            first, last = np.searchsorted(self.offsets, (start, stop - 1), side="right") - 1
            texts = np.arange(first, last + 1)
            begin = np.maximum(self.offsets[first : last + 1], start)
            end = np.minimum(self.offsets[first + 1 : last + 2] - n + 1, stop)

            # The n - 1 places before a text's end would reach into the next text.
            inside = np.ones(len(grams), dtype=bool)
            crossing = (self.offsets[first + 1 : last + 2, None] - np.arange(1, n)).ravel() - start
            inside[crossing[(crossing >= 0) & (crossing < len(grams))]] = False
            yield grams[inside], np.repeat(texts, np.maximum(end - begin, 0))


def hash_words(texts: Sequence[str]) -> Words:
    """Cut texts into lower-case words without punctuation and hash each word, about 100 MB/s a core.

    A word is a run of letters, marks and digits; punctuation separates, so that the tokenised `Teddy 's` and
    `guest @-@ starring` of WikiText equal `Teddy's` and `guest-starring`. In scripts without spaces every
    character is a word. What is punctuation is asked of Unicode 3.2, which every Python carries unchanged.
    """
    counts = np.zeros(len(texts), dtype=np.int64)
    hashes = [np.empty(0, dtype=np.uint64)]
    for pieces, owners in _blocks(texts):
        found, starts = _block_words("\n".join(pieces))
        lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        words_before = np.searchsorted(starts, _offsets(lengths + 1))
        np.add.at(counts, owners, np.diff(words_before))
        hashes.append(found)
    return Words(np.concatenate(hashes), _offsets(counts))


def _blocks(texts: Sequence[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield pieces of texts with their indices, at most `_BLOCK` characters together."""
    pieces: list[str] = []
    owners: list[int] = []
    room = _BLOCK
    for owner, text in enumerate(texts):
        for piece in (text,) if len(text) < _BLOCK else _pieces(text):
            if len(piece) >= room:
                yield pieces, owners
                pieces, owners, room = [], [], _BLOCK
            pieces.append(piece)
            owners.append(owner)
            room -= len(piece) + 1  # the line break that joins it to the next
    if pieces:
        yield pieces, owners


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at white space; a stretch without any is cut where the room ends."""
    start = 0
    while start < len(text):
        stop = start + _BLOCK - 1
        if stop < len(text):
            space = max(text.rfind(" ", start + 1, stop), text.rfind("\n", start + 1, stop))
            stop = space if space > 0 else stop
        yield text[start:stop]
        start = stop


def _block_words(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the word hashes of a short text and the places (characters) where the words start.

    The hash of a word is a polynomial in its characters: one running sum of character times power gives all
    of them, as the sum over a word divided by the power at its start (the multiplier is odd, so it has an
    inverse modulo 2**64; separators count as zero).
    """
    codes = _character_codes().take(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32))
    is_word = codes != 0
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    alone = codes >= _ALONE
    if alone.any():
        begins |= alone
        begins[1:] |= is_word[1:] & alone[:-1]
    starts = np.flatnonzero(begins)

    powers, inverses = _letter_powers()
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.multiply(codes, powers[: len(codes)], out=sums[1:])
    np.cumsum(sums, out=sums)
    hashes = np.diff(np.append(sums[starts], sums[-1]))
    hashes *= inverses[starts]
    return _mixed(hashes), starts


@lru_cache(maxsize=1)
def _character_codes() -> np.ndarray:
    """(0x110000,) uint32: a character's lower case, 0 for a separator, `_ALONE` set where it is a word.

    Takes 0.2 s, once in a process. Characters younger than Unicode 3.2 count as letters, emoji do not.
    """
    codes = np.arange(0x110000, dtype=np.uint32)
    category = unicodedata.ucd_3_2_0.category
    for code in range(0x20000):  # the planes above hold Han characters and nothing with upper case
        character = chr(code)
        kind = category(character)
        separates = kind[0] in "PSZ" or kind in ("Cc", "Cf", "Cs")
        codes[code] = 0 if separates else ord(character.lower()[0])
    codes[0x1F000:0x1FB00] = 0
    codes[0xE0000:] = 0
    for first, last in _UNSPACED:
        part = codes[first : last + 1]
        part[part != 0] |= np.uint32(_ALONE)
    return codes


@lru_cache(maxsize=1)
def _letter_powers() -> tuple[np.ndarray, np.ndarray]:
    """(_BLOCK + 1,) uint64 each: the powers of `_LETTER` from 0 up, and of its inverse modulo 2**64."""
    powers = np.full((2, _BLOCK + 1), 1, dtype=np.uint64)
    powers[:, 1:] = [[_LETTER], [pow(_LETTER, -1, 2**64)]]
    np.multiply.accumulate(powers, axis=1, out=powers)
    return powers[0], powers[1]


def _ngram_hashes(words: np.ndarray, n: int) -> np.ndarray:
    """Hash every n neighbours: (m,) -> (m - n + 1,), by doubling the width as in binary powers."""
    grams, width = words, 1
    for bit in f"{n:b}"[1:]:
        grams = grams[:-width] * np.uint64(pow(_WORD, width, 2**64)) + grams[width:]
        width *= 2
        if bit == "1":
            grams = grams[:-1] * np.uint64(_WORD) + words[width : width + len(grams) - 1]
            width += 1
    return _mixed(grams)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Spread uint64 values over all bits, one to one (the multiply-and-shift finish of MurmurHash3)."""
    values = values ^ (values >> np.uint64(32))
    values *= np.uint64(_MIX)
    values ^= values >> np.uint64(32)
    values *= np.uint64(_MIX)
    values ^= values >> np.uint64(32)
    return values


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))


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
        parts = [np.empty((0, self.num_hashes), dtype=np.uint8)]
        for start in range(0, len(words), _TEXTS):
            parts.append(self._sketches(words.slice(start, min(start + _TEXTS, len(words)))))
        return np.concatenate(parts)

    def _sketches(self, words: Words) -> np.ndarray:
        """Sketch up to `_TEXTS` texts: each place of a sketch keeps the least-ranked shingle that fell there.

        In every round each shingle falls on one place; a later round's rank is greater, so rounds go on only
        for texts with an empty place. Long texts need one, short ones all, and what is then still empty
        takes the least of all shingles under a hash of its own.
        """
        ranks = np.full((len(words), self.num_hashes), _EMPTY)
        for grams, owners in words.ngrams(self.ngram):
            self._play_round(0, grams, owners, ranks)
        counts = np.diff(words.offsets)
        unfinished = (ranks.max(axis=1) == _EMPTY) & (counts >= self.ngram)
        for long in (False, True):
            texts = unfinished & ((counts > _LONG) == long)
            if texts.any():
                ngrams = words.select(texts).ngrams(self.ngram)
                ranks[texts] = self._finished(ranks[texts], _distinct(ngrams) if long else ngrams)
        # A rank's high bits are small by construction; the mixed rank's are not.
        sketches = (_mixed(ranks) >> np.uint64(56)).astype(np.uint8)
        sketches[counts < self.ngram] = 0
        return sketches

    def _finished(self, ranks: np.ndarray, ngrams: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Return the ranks (texts, num_hashes) after round 0 with every place taken."""
        grams, owners = map(np.concatenate, zip(*ngrams, strict=True))
        for number in range(1, _ROUNDS):
            if number & (number - 1) == 0:  # to look who has finished costs about a round
                playing = (ranks.max(axis=1) == _EMPTY)[owners]
                grams, owners = grams[playing], owners[playing]
            self._play_round(number, grams, owners, ranks)
        self._fill(grams, owners, ranks)
        return ranks

    def _play_round(self, number: int, grams: np.ndarray, owners: np.ndarray, ranks: np.ndarray) -> None:
        factors, terms = self._functions
        values = grams * factors[number] + terms[number]
        places = ((values >> np.uint64(32)) * np.uint64(self.num_hashes)) >> np.uint64(32)
        places = places.astype(np.int64)
        places += owners * self.num_hashes
        values &= np.uint64((1 << 48) - 1)  # the place took the bits above
        values |= np.uint64(number << 48)
        np.minimum.at(ranks.reshape(-1), places, values)

    def _fill(self, grams: np.ndarray, owners: np.ndarray, ranks: np.ndarray) -> None:
        """Give every empty place the least value over its text's shingles (`owners` is sorted)."""
        texts, places = np.nonzero(ranks == _EMPTY)
        if not texts.size:
            return
        bounds = np.searchsorted(owners, np.arange(len(ranks) + 1))
        counts = np.diff(bounds)[texts]
        starts = _offsets(counts)
        which = np.repeat(np.arange(len(texts)), counts)
        shingles = grams[np.arange(starts[-1]) + (bounds[texts] - starts[:-1])[which]]
        factors, terms = (function[_ROUNDS:][places][which] for function in self._functions)
        ranks[texts, places] = np.minimum.reduceat(shingles * factors + terms, starts[:-1])

    @cached_property
    def _functions(self) -> tuple[np.ndarray, np.ndarray]:
        """Odd factors and terms (_ROUNDS + num_hashes,) uint64, the same with every numpy and machine."""
        count = _ROUNDS + self.num_hashes
        digests = (xxhash.xxh3_128_digest(f"{self.seed}:{i}".encode()) for i in range(count))
        numbers = _words_of_digests(digests)
        return numbers[:, 0] | np.uint64(1), numbers[:, 1].copy()


def _distinct(ngrams: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Drop what a text repeats within a piece: a long text with empty places is one that says little else."""
    for grams, owners in ngrams:
        for owner in np.unique(owners):
            different = np.unique(grams[owners == owner])
            yield different, np.full(len(different), owner)


# -- exact duplicates ----------------------------------------------------------------------------------------


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """Return (n, 2) uint64: XXH3-128 of each text's UTF-8, without white space before and after it.

    Nothing else is normalised: texts with another case or another line break are no exact duplicates. Among
    a billion texts two different ones share their 128 bits with a probability of 1e-21.
    """
    stripped = (text.strip().encode("utf-8", "surrogatepass") for text in texts)
    return _words_of_digests(xxhash.xxh3_128_digest(text) for text in stripped)


def _words_of_digests(digests: Iterator[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)


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
        first, previous, later = _meetings(
            rows.band_keys(band * minhash.rows_per_band, minhash.rows_per_band)
        )
        for earlier in (first, previous):  # who is unlike the first of the band may be like its neighbour
            for start in range(0, len(later), _BLOCK):
                a, b = earlier[start : start + _BLOCK], later[start : start + _BLOCK]
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
        for start in range(0, len(rest), _BLOCK):
            part = slice(start, start + _BLOCK)
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
        self.offsets = _offsets(np.array([len(part) for part in self.parts], dtype=np.int64))
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
    places = np.flatnonzero(met)
    firsts = np.flatnonzero(~met)
    packed &= np.uint64(0xFFFFFFFF)
    documents = packed.astype(np.int64)
    run = np.searchsorted(firsts, places) - 1
    return documents[firsts[run]], documents[places - 1], documents[places]


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
