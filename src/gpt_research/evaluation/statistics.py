"""Scores, their standard errors, and the difference between two models on the same items.

Every score is a ratio of sums over items such as documents, R = sum(a_i) / sum(b_i), or exp(R):

    accuracy        a = correct,     b = 1
    perplexity      a = nats,        b = tokens (or words),   exp(R)
    bits per byte   a = nats / ln 2, b = bytes

Items count as independent draws. The tokens of one document are not independent, so the item is the
document, not the token. By the delta method (Cochran 1977, "Sampling Techniques", section 6.3),
item i moves the score g(R) by

    e_i = g'(R) (a_i - R b_i) / sum(b)        and  SE = sqrt(n / (n - 1) * sum(e_i^2)).

For an accuracy this is the usual s / sqrt(n). The error of a difference between two models on the
same items comes from the paired values e_i(B) - e_i(A). It is much smaller than the two errors
together if both models find the same items hard. The interval is difference +- z SE, where z is the
quantile of the normal distribution for the confidence. Nothing is drawn at random.

If each model was trained with several seeds, a score is the mean over them, and so is each e_i. The
seeds then add a variance of their own: that of B's score minus A's, seed by seed, if both have the
same seeds, and s_A^2 / k_A + s_B^2 / k_B otherwise. A few seeds tell their own spread badly, so z
becomes the quantile of Student's t, with the degrees of freedom of Welch and Satterthwaite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Columns = Mapping[str, np.ndarray]
"""What was measured on each item, by name; every array is (items,). `group` is the number of the
item's group, such as a phenomenon of BLiMP, if the items have groups."""


def in_group(columns: Columns, number: int) -> Columns:
    """Return the rows of one group."""
    return {name: column[columns["group"] == number] for name, column in columns.items()}


@dataclass(frozen=True)
class Metric:
    """How a score is computed: scale * sum(numerator) / sum(denominator), or exp of that."""

    numerator: str
    """Name of a column."""
    denominator: str = ""
    """Name of a column; empty counts 1 for each item."""
    exponential: bool = False
    """The score is the exponential of the ratio."""
    scale: float = 1.0
    """Factor of the numerator."""
    higher_is_better: bool = False
    chance: str = ""
    """Name of the column that holds what a guess scores on each item; empty if nobody can guess."""
    normalisation: str = ""
    """By what the likelihood of an answer is divided, in words."""

    @property
    def columns(self) -> set[str]:
        """The names of the columns that a score is computed from."""
        return {self.numerator, self.denominator} - {""}

    def chance_level(self, columns: Columns) -> float | None:
        """Return the score of a guess on these items; None if it is not known."""
        return float(columns[self.chance].mean()) if self.chance and self.chance in columns else None

    def estimate(self, columns: Columns) -> Estimate:
        """Return the score over these items; nan if the denominator is 0."""
        a = columns[self.numerator].astype(np.float64) * self.scale
        b = columns[self.denominator].astype(np.float64) if self.denominator else np.ones_like(a)
        if not b.sum():
            return Estimate(math.nan, np.full(len(a), math.nan))
        ratio = a.sum() / b.sum()
        value = ratio
        if self.exponential:
            # exp(710) is more than a float64 holds.
            value = math.exp(ratio) if ratio < 700 else math.inf
        slope = value if self.exponential else 1.0  # g'(R): exp is its own derivative
        with np.errstate(invalid="ignore"):  # because the error of an infinite perplexity is nan
            return Estimate(float(value), slope * (a - ratio * b) / b.sum())


@dataclass(frozen=True)
class Estimate:
    """A score, and how far each item moves it."""

    value: float
    influence: np.ndarray
    """(items,): e_i in the formula at the top of this module."""

    @property
    def standard_error(self) -> float:
        """nan if there is only one item, because nothing shows how much items vary."""
        return _standard_error(self.influence)


def shows_signal(estimate: Estimate, chance: float) -> bool:
    """Return whether a score is above that of a guess: its 95% interval begins above it."""
    error = estimate.standard_error
    return estimate.value - 1.96 * (error if math.isfinite(error) else math.inf) > chance


ACCURACY = Metric("correct", higher_is_better=True)
LOSS = Metric("nats", "tokens")
PERPLEXITY = Metric("nats", "tokens", exponential=True)
BITS_PER_BYTE = Metric("nats", "bytes", scale=1 / math.log(2))  # a nat is 1 / ln 2 bits


@dataclass(frozen=True)
class Difference:
    """The score of model B minus that of model A, on the same items."""

    a: float
    b: float
    standard_error: float
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    items: int
    higher_is_better: bool = False

    @property
    def value(self) -> float:
        return self.b - self.a

    @property
    def has_interval(self) -> bool:
        """False if there is only one item, or a score is infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_clear(self) -> bool:
        """True if the interval does not hold 0."""
        return self.low > 0 or self.high < 0


def difference(metric: Metric, a: Columns, b: Columns, confidence: float) -> Difference:
    """Return the difference of a score between two models, on the same items in the same order."""
    one, other = metric.estimate(a), metric.estimate(b)
    assert len(one.influence) == len(other.influence), "only the same items can be paired"
    error = _standard_error(other.influence - one.influence)
    z, value = NormalDist().inv_cdf(0.5 + confidence / 2), other.value - one.value
    low, high = value - z * error, value + z * error
    return Difference(one.value, other.value, error, low, high, len(one.influence), metric.higher_is_better)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of a score over models, such as seeds, on the same items in the same
    order.
    """
    influence = np.mean([estimate.influence for estimate in estimates], axis=0)
    return Estimate(float(np.mean([estimate.value for estimate in estimates])), influence)


def difference_of_means(
    a: Sequence[Estimate],
    b: Sequence[Estimate],
    confidence: float,
    *,
    same_seeds: bool,
    higher_is_better: bool = False,
) -> Difference:
    """Return the difference of a score between two settings, each trained with several seeds.

    Args:
        same_seeds: number n of `a` has the seed of number n of `b`.
    """
    one, other = mean_estimate(a), mean_estimate(b)
    assert len(one.influence) == len(other.influence), "only the same items can be paired"
    items = len(one.influence)
    parts = [(_standard_error(other.influence - one.influence) ** 2, items - 1)]
    if min(len(a), len(b)) > 1:
        values = np.array([e.value for e in a]), np.array([e.value for e in b])
        for seeds in [values[1] - values[0]] if same_seeds else values:
            parts.append((float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1))
    variance, quantile = sum(v for v, _ in parts), NormalDist().inv_cdf(0.5 + confidence / 2)
    if len(parts) > 1 and variance > 0:
        freedom = variance**2 / sum(v**2 / n for v, n in parts if n)
        quantile = student_quantile(0.5 + confidence / 2, freedom)
    error, value = math.sqrt(variance), other.value - one.value
    low, high = value - quantile * error, value + quantile * error
    return Difference(one.value, other.value, error, low, high, items, higher_is_better)


def number(value: float, sign: str = "") -> str:
    """Return a score in few characters. With `sign` "+", a positive number gets its sign too."""
    digits = ".4f" if abs(value) < 10 else ".2f" if abs(value) < 1000 else ",.0f" if abs(value) < 1e7 else ".3g"
    return format(value, sign + digits)


def counted(number: int, unit: str) -> str:
    """Return a number of things, whose name is given in the plural."""
    return f"{number:,} {unit if number != 1 else unit.removesuffix('s')}"


def student_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t distribution, to about 5 digits."""
    if freedom > 1e5:
        return NormalDist().inv_cdf(probability)
    # With t = sqrt(freedom) * tan(angle), the density of the angle is cos(angle)**(freedom - 1).
    angles = np.linspace(0, math.pi / 2, 50_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(abs(probability - 0.5) * 2, mass / mass[-1], angles))
    return math.copysign(math.sqrt(freedom) * math.tan(angle), probability - 0.5)


def _standard_error(influence: np.ndarray) -> float:
    n = len(influence)
    return math.sqrt(n / (n - 1) * float(np.square(influence).sum())) if n > 1 else math.nan
