"""Scores, their standard errors, and the difference between two models on the same items.

Every score is a ratio of sums over items (documents, questions), R = sum(a_i) / sum(b_i), or its exponential:

    accuracy        a = correct,     b = 1
    perplexity      a = nats,        b = tokens (or words),   exp(R)
    bits per byte   a = nats / ln 2, b = bytes

Items are independent draws; tokens of one document are not, so they never count one by one. Linearised (the delta
method; Cochran 1977, "Sampling Techniques", section 6.3), item i moves the score g(R) by

    e_i = g'(R) (a_i - R b_i) / sum(b)        and  SE = sqrt(n / (n - 1) * sum(e_i^2)).

For an accuracy this is the usual s / sqrt(n). The difference of two models on the same items has the paired
error, from e_i(B) - e_i(A): much smaller than the two errors together where the models find the same items hard.
The interval is difference +- z SE with the normal z of the confidence; nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Columns = Mapping[str, np.ndarray]
"""What is known of each item, by name; every array has one entry an item."""


@dataclass(frozen=True)
class Metric:
    """How a score is made of columns."""

    numerator: str
    denominator: str = ""
    """Empty: 1 for each item."""
    exponential: bool = False
    scale: float = 1.0
    """Multiplies the numerator."""
    higher_is_better: bool = False

    def estimate(self, columns: Columns) -> Estimate:
        """Return the score of these items."""
        a = columns[self.numerator].astype(np.float64) * self.scale
        b = columns[self.denominator].astype(np.float64) if self.denominator else np.ones_like(a)
        if not b.sum():
            return Estimate(math.nan, np.full(len(a), math.nan))
        ratio = a.sum() / b.sum()
        value = ratio
        if self.exponential:
            value = math.exp(ratio) if ratio < 700 else math.inf
        slope = value if self.exponential else 1.0
        with np.errstate(invalid="ignore"):  # an infinite perplexity has no error
            return Estimate(float(value), slope * (a - ratio * b) / b.sum())


@dataclass(frozen=True)
class Estimate:
    """A score and how far each item moves it."""

    value: float
    influence: np.ndarray

    @property
    def standard_error(self) -> float:
        return _standard_error(self.influence)


ACCURACY = Metric("correct", higher_is_better=True)
LOSS = Metric("nats", "tokens")
PERPLEXITY = Metric("nats", "tokens", exponential=True)
BITS_PER_BYTE = Metric("nats", "bytes", scale=1 / math.log(2))


@dataclass(frozen=True)
class Difference:
    """B minus A on the same items."""

    a: float
    b: float
    standard_error: float
    low: float
    high: float
    items: int

    @property
    def value(self) -> float:
        return self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def difference(metric: Metric, a: Columns, b: Columns, confidence: float) -> Difference:
    """Compare two models on the same items in the same order."""
    one, other = metric.estimate(a), metric.estimate(b)
    assert len(one.influence) == len(other.influence), "only the same items can be paired"
    error = _standard_error(other.influence - one.influence)
    z, value = NormalDist().inv_cdf(0.5 + confidence / 2), other.value - one.value
    return Difference(one.value, other.value, error, value - z * error, value + z * error, len(one.influence))


def _standard_error(influence: np.ndarray) -> float:
    n = len(influence)
    return math.sqrt(n / (n - 1) * float(np.square(influence).sum())) if n > 1 else math.nan
