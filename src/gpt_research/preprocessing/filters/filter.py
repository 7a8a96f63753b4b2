"""The contract of a filter: it looks at a batch of texts, and says which of them it leaves out.

A filter is a frozen dataclass, whose fields are its settings; it has one method, `judge`. A new one
is one file with one class, and one line in the dictionary `FILTERS` (`filters/catalogue.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from gpt_research.preprocessing.filters.words import Texts


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
