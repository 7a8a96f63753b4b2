"""The contract of a filter: it gets a batch of `Texts`, and says in a `Verdict` which of them it
leaves out.

A filter is a frozen dataclass, whose fields are its settings; it has one method, `judge`. A new one
is one file with one class, and one line in the dictionary `FILTERS` (`filters/catalogue.py`).

Words and sentences are those of spaCy's English rules, which datatrove uses: a sign at the end of a
word is a word of its own, and "don't" is two. `words_of` and `sentences_of` show them for one text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from gpt_research.preprocessing.filters import compiled, english
from gpt_research.preprocessing.filters.characters import table
from gpt_research.preprocessing.text.arrow import encoded, mask, utf8_of


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter says of a batch of texts."""

    reasons: Mapping[int, str] = field(default_factory=dict)
    """The rule that a text breaks, by the text's index; the other texts are kept."""
    notes: Mapping[int, str] = field(default_factory=dict)
    """What was measured of a text that breaks a rule, for the data card: "0.7 > 0.67"."""
    changed: pa.LargeStringArray | None = None
    """All texts, if some of those that are kept are not as before."""


class Filter(Protocol):
    """A filter of texts. Its fields are its settings: a number, a text, true or false each."""

    def judge(self, texts: Texts) -> Verdict:
        """Say which of the texts are left out, and why."""
        ...


class Rules:
    """Finds the first rule that each text breaks."""

    def __init__(self, texts: int) -> None:
        self._broken = np.zeros(texts, dtype=bool)
        self._reasons: dict[int, str] = {}
        self._notes: dict[int, str] = {}

    def check(self, rule: str, broken: np.ndarray) -> list[int]:
        """Note the texts that break a rule and none before it, and return their indices.

        Args:
            broken: (n,) bool.
        """
        new = np.flatnonzero(broken & ~self._broken).tolist()
        self._broken |= broken
        self._reasons.update(dict.fromkeys(new, rule))
        return new

    def most(self, rule: str, values: np.ndarray, limit: float) -> None:
        """Note the texts with a value above a limit; a limit of 0 is no rule."""
        for row in self.check(rule, values > limit) if limit else ():
            self._notes[row] = f"{values[row]:.4g} > {limit:g}"

    def least(self, rule: str, values: np.ndarray, limit: float) -> None:
        """Note the texts with a value below a limit; a limit of 0 is no rule."""
        for row in self.check(rule, values < limit) if limit else ():
            self._notes[row] = f"{values[row]:.4g} < {limit:g}"

    def verdict(self, changed: pa.LargeStringArray | None = None) -> Verdict:
        return Verdict(self._reasons, self._notes, changed)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return (n,) parts of wholes; a whole of nothing has the share 0."""
    return part / np.maximum(whole, 1)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a batch of texts. Text i has the words firsts[i] to lasts[i]."""

    firsts: np.ndarray
    """(n,) int64."""
    lasts: np.ndarray
    """(n,) int64."""
    characters: np.ndarray
    """(w + 1,) int64: the characters of all words before this one."""
    letters: np.ndarray
    """(w + 1,) int64: how many words before this one have a letter."""
    whole: np.ndarray
    """(w + 1,) int64: how many words before this one are more than marks and controls."""
    whole_characters: np.ndarray
    """(w + 1,) int64: the characters of these."""
    hashes: np.ndarray
    """(w,) uint64."""
    sums: np.ndarray
    """(w + 1,) uint64, for hashes of words that are glued together; see `describe_words`."""
    undo: np.ndarray
    """(w + 1,) uint64, the same."""

    def of_each(self, running: np.ndarray) -> np.ndarray:
        """Return (n,) for each text what (w + 1,) counts over all words."""
        return running[self.lasts] - running[self.firsts]

    def keep(self, wanted: np.ndarray) -> Words:
        """Return the words of the texts for which `wanted`, (n,) bool, is True."""
        return replace(self, firsts=self.firsts[wanted], lasts=self.lasts[wanted])


class Texts:
    """The texts of a batch."""

    def __init__(self, array: pa.LargeStringArray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @cached_property
    def utf8(self) -> tuple[np.ndarray, np.ndarray]:
        """Data (m,) uint8 and bounds (n + 1,) int64; text i is data[bounds[i]:bounds[i + 1]]."""
        return utf8_of(self.array)

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Where words begin and end (2, w), and the offsets of the words of each text (n + 1,)."""
        return _split(*self.utf8)

    @cached_property
    def word_counts(self) -> np.ndarray:
        """The number of words of each text, (n,) int64."""
        return np.diff(self._bounds[1])

    @cached_property
    def words(self) -> Words:
        """The words, described once for all filters of a batch."""
        (starts, ends), offsets = self._bounds
        characters, signs, *hashes = _described(self.utf8[0], starts, ends)
        letters, whole, whole_characters = np.zeros((3, len(starts) + 1), dtype=np.int64)
        np.cumsum(signs & 1, out=letters[1:])
        np.cumsum(signs >> 1, out=whole[1:])
        np.cumsum((signs >> 1) * np.diff(characters), out=whole_characters[1:])
        return Words(offsets[:-1], offsets[1:], characters, letters, whole, whole_characters, *hashes)

    def strings(self) -> list[str]:
        """Return the texts as Python strings."""
        return self.array.to_pylist()

    def keep(self, wanted: np.ndarray) -> Texts:
        """Return the texts for which `wanted`, (n,) bool, is True."""
        if wanted.all():
            return self
        kept = Texts(self.array.filter(mask(wanted)))
        if "words" in self.__dict__:
            kept.words = self.words.keep(wanted)
            kept.word_counts = self.word_counts[wanted]
        return kept


def _split(data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes at which words begin and end, (2, w), and the words of each text, as
    offsets (n + 1,)."""
    places, offsets = np.empty((2, len(data)), dtype=np.int64), np.zeros(len(bounds), dtype=np.int64)
    if len(data):
        compiled.split_words(data, bounds, table(), *english.tables(), *places, offsets)
    return places[:, : offsets[-1]], offsets


def _described(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return what `describe_words` writes of words."""
    count = len(starts)
    characters, signs = np.zeros(count + 1, dtype=np.int64), np.empty(count, dtype=np.uint8)
    hashes, sums, undo = (np.empty(count + more, dtype=np.uint64) for more in (0, 1, 1))
    compiled.describe_words(data, starts, ends, table(), characters, signs, hashes, sums, undo)
    return characters, signs, hashes, sums, undo


def words_of(text: str) -> list[str]:
    """Return the words of a text."""
    data, bounds = utf8_of(encoded([text]))
    raw, (places, _) = data.tobytes(), _split(data, bounds)
    return [raw[start:end].decode() for start, end in places.T.tolist()]


def hashes_of(words: list[str]) -> np.ndarray:
    """Return the hash of each of some words, as `Words.hashes`."""
    data, bounds = utf8_of(encoded(words))
    return _described(data, bounds[:-1], bounds[1:])[2]


def sentence_counts(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return the number of sentences of each piece of a text in UTF-8, at least 1.

    Args:
        data, starts, stops: (m,) uint8, (n,) int64; piece i is data[starts[i] : stops[i]].
    """
    counts = np.ones(len(starts), dtype=np.int64)
    if len(data):
        compiled.count_sentences(data, starts, stops, table(), *english.tables(), counts)
    return counts


def sentences_of(text: str) -> int:
    """Return the number of sentences of a text."""
    data, bounds = utf8_of(encoded([text]))
    return int(sentence_counts(data, bounds[:-1], bounds[1:])[0])
