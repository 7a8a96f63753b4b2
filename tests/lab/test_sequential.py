"""The intervals hold at every look: simulated experiments of which the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gpt_research.lab.sequential import Interval, boundaries, interval, smallest_visible

EXPERIMENTS, PAIRS = 1000, 8
Noise = Callable[[np.random.Generator], np.ndarray]
NOISES: dict[str, Noise] = {
    "normal": lambda random: random.normal(size=PAIRS),
    "heavy tails": lambda random: random.standard_t(3, size=PAIRS),
    "unequal": lambda random: random.normal(size=PAIRS) * random.lognormal(0, 0.7, size=PAIRS),
}


def stopped(differences: np.ndarray) -> Interval:
    """The interval of an experiment that ends as soon as it is decided, or after all pairs."""
    for pairs in range(1, PAIRS + 1):
        found = interval(list(differences[:pairs]), PAIRS)
        if found.decided:
            break
    return found


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0])
def test_what_is_claimed_is_true(effect: float, noise: str) -> None:
    random = np.random.default_rng(1)
    experiments = [effect + NOISES[noise](random) for _ in range(EXPERIMENTS)]
    ends = [stopped(experiment) for experiment in experiments]
    held = sum(end.low <= effect <= end.high for end in ends) / EXPERIMENTS
    error = 2 * math.sqrt(0.05 * 0.95 / EXPERIMENTS)
    assert held >= 0.95 - error
    if not effect:
        assert sum(end.decided for end in ends) / EXPERIMENTS <= 0.05 + error
    else:
        assert sum(end.high < 0 for end in ends) / EXPERIMENTS <= 0.025
    if effect == 2.0 and noise == "normal":
        assert sum(end.decided for end in ends) > 0.9 * EXPERIMENTS
        assert np.median([end.pairs for end in ends]) < PAIRS  # it stops before its time
    if not effect:  # what runs to its end pays little for its early looks
        fixed = [stats.t.ppf(0.975, PAIRS - 1) * stats.sem(experiment) for experiment in experiments]
        ratios = [end.half_width / width for end, width in zip(ends, fixed, strict=True) if end.pairs == PAIRS]
        assert np.median(ratios) <= 1.5


def test_an_ordinary_interval_at_every_look_would_claim_too_much() -> None:
    random = np.random.default_rng(1)
    claims = 0
    for _ in range(EXPERIMENTS):
        pairs = random.normal(size=PAIRS)
        claims += any(stats.ttest_1samp(pairs[:n], 0).pvalue < 0.05 for n in range(3, PAIRS + 1))
    assert claims / EXPERIMENTS > 0.1


def test_before_the_first_look_nothing_is_said() -> None:
    assert interval([1.0], 8).half_width == math.inf
    assert not interval([1.0, 1.1], 8).decided
    assert interval([1.0, 1.1, 0.9], 8).half_width < math.inf
    assert interval([1.0, 1.1], 2).half_width < math.inf  # two pairs are all there are


def test_one_look_at_the_end_is_students_interval() -> None:
    assert boundaries(3)[3] == pytest.approx(stats.t.ppf(0.975, 2), rel=0.02)
    assert smallest_visible([0.9, 1.0, 1.1], 3) == pytest.approx(0.1 / math.sqrt(3) * boundaries(3)[3])
