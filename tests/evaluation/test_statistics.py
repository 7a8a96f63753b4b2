"""Errors and intervals hold what they promise, against resampling and simulation."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from gpt_research.evaluation.statistics import ACCURACY, PERPLEXITY, difference
from gpt_research.evaluation.tasks.table import TASKS


def documents(seed: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(50, 2000, count)
    return {"nats": tokens * rng.normal(3.3, 0.4, count), "tokens": tokens}


def value(columns: dict[str, np.ndarray]) -> float:
    return math.exp(columns["nats"].sum() / columns["tokens"].sum())


def test_the_error_of_an_accuracy_is_the_sample_deviation_over_the_root() -> None:
    right = np.random.default_rng(1).random(200) < 0.3
    found = ACCURACY.estimate({"correct": right})
    assert found.value == right.mean()
    assert found.standard_error == pytest.approx(statistics.stdev(right.astype(float)) / math.sqrt(200))


def test_the_error_of_a_perplexity_is_that_of_resampled_documents() -> None:
    columns, rng = documents(2, 150), np.random.default_rng(3)
    drawn = [value({k: v[rows] for k, v in columns.items()}) for rows in rng.integers(0, 150, (4000, 150))]
    found = PERPLEXITY.estimate(columns)
    assert found.value == pytest.approx(value(columns))
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.06)


def test_the_error_of_a_difference_is_that_of_resampled_pairs() -> None:
    a, rng = documents(4, 150), np.random.default_rng(5)
    b = {**a, "nats": a["nats"] * rng.normal(0.98, 0.02, 150)}
    found = difference(PERPLEXITY, a, b, 0.95)
    drawn = []
    for rows in rng.integers(0, 150, (4000, 150)):
        one, other = ({k: v[rows] for k, v in columns.items()} for columns in (a, b))
        drawn.append(value(other) - value(one))
    assert found.value == pytest.approx(value(b) - value(a))
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.06)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.15 * found.standard_error)
    alone = math.hypot(*(PERPLEXITY.estimate(c).standard_error for c in (a, b)))
    assert found.standard_error < alone / 5, "pairing is what makes small differences visible"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(6), 0
    for _ in range(1000):
        skill = rng.random(300)  # both models find the same questions hard
        a, b = ({"correct": rng.random(300) < skill * strength} for strength in (0.8, 0.9))
        found = difference(ACCURACY, a, b, 0.9)
        held += found.low <= 0.05 <= found.high
    assert 0.87 < held / 1000 < 0.93


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    found = difference(PERPLEXITY, documents(7, 9), documents(7, 9), 0.95)
    assert (found.value, found.low, found.high, found.is_clear) == (0.0, 0.0, 0.0, False)


def test_bits_per_byte_and_perplexity_are_their_formulas() -> None:
    columns = {"nats": np.array([8.0, 4.0]), "tokens": np.array([3, 1]), "bytes": np.array([9, 5]),
               "words": np.array([2.0, 1.0])}  # fmt: skip
    found = {name: metric.estimate(columns).value for name, metric in TASKS["wikitext2"].metrics.items()}
    assert found == pytest.approx(
        {"perplexity": math.exp(3), "word_perplexity": math.exp(4), "bits_per_byte": 12 / math.log(2) / 14}
    )


def test_a_hopeless_model_has_an_infinite_perplexity_and_no_warning() -> None:
    found = PERPLEXITY.estimate({"nats": np.array([1e4, 2e4]), "tokens": np.array([1, 1])})
    assert found.value == math.inf
    assert math.isnan(PERPLEXITY.estimate({"nats": np.array([1.0]), "tokens": np.array([1])}).standard_error)
