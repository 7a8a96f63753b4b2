"""Scores of predictions, against values worked out by hand and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpt_research.evaluation.labelled import (
    METRICS,
    ItemScore,
    exact_interval,
    f1,
    interval,
    matthews,
    metrics_for,
    pearson,
    spearman,
)
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.statistics import ACCURACY

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
SAID = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0, 0])  # TP 4, FP 1, FN 2, TN 3
ONES = np.ones(10)


def test_two_classes() -> None:
    assert f1(LABELS, SAID, ONES) == pytest.approx(8 / 11)
    assert matthews(LABELS, SAID, ONES) == pytest.approx((4 * 3 - 1 * 2) / math.sqrt(5 * 6 * 4 * 5))
    assert matthews(LABELS, np.ones(10), ONES) == 0.0  # always one class
    assert matthews(LABELS, LABELS, ONES) == 1.0


def test_three_classes() -> None:
    labels, said = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    assert f1(labels, said, np.ones(6)) == pytest.approx((2 / 4 + 4 / 5 + 2 / 3) / 3)
    # Gorodkin 2004: (c s - sum t p) / sqrt((s^2 - sum p^2) (s^2 - sum t^2)), with 4 hits of 6.
    assert matthews(labels, said, np.ones(6)) == pytest.approx((24 - 12) / math.sqrt((36 - 14) * (36 - 12)))


def test_f1_is_of_the_classes_that_were_trained() -> None:
    never = np.zeros(60)
    assert math.isnan(f1(never, never, np.ones(60), 2)), "no item of the class that counts"
    assert math.isnan(f1(never, never, np.ones(60)))
    rare = np.r_[np.ones(2), np.zeros(58)]
    of_two = metrics_for("classify", 2)["f1"]
    assert of_two.estimate({"label": rare, "predicted": never}).value == 0
    assert interval(of_two, {"label": rare, "predicted": never}) == (0, 0)
    # Where the third class does not occur, F1 stays the mean over the classes.
    labels, said = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert f1(labels, said, np.ones(4), 3) == pytest.approx((2 / 3 + 4 / 5) / 2)
    found = Result("finetuned/pairs", {"label": labels, "predicted": said}, {"labels": ["a", "b", "c"]})
    assert found.estimates["f1"].value == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_correlations() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    b = a + rng.normal(size=50)
    assert pearson(a, b, np.ones(50)) == pytest.approx(np.corrcoef(a, b)[0, 1])
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    assert spearman(a, b, np.ones(50)) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    # Equal numbers share a rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    assert spearman(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4]), np.ones(4)) == pytest.approx(
        4.5 / math.sqrt(4.5 * 5)
    )
    assert math.isnan(pearson(np.ones(3), a[:3], np.ones(3)))


def test_what_an_item_moves_is_what_leaving_it_out_moves() -> None:
    columns = {"label": LABELS, "predicted": SAID, "correct": LABELS == SAID}
    accuracy = ItemScore("label", score=lambda a, b, w: float((w * (a == b)).sum() / w.sum()))
    ours, theirs = accuracy.estimate(columns), ACCURACY.estimate(columns)
    assert ours.value == theirs.value
    np.testing.assert_allclose(ours.influence, theirs.influence, atol=1e-12)
    found = METRICS["classify"]["matthews"].estimate(columns)
    for item in range(10):
        weights = ONES.copy()
        weights[item] = 0
        expected = found.value - matthews(LABELS, SAID, weights)
        assert found.influence[item] == pytest.approx(0.9 * expected, abs=0.02)


@pytest.mark.parametrize(
    ("hits", "items", "low", "high"), [(5, 10, 0.1871, 0.8129), (0, 10, 0.0, 0.3085), (12, 12, 0.7354, 1.0)]
)
def test_the_exact_interval_is_that_of_the_tables(hits: int, items: int, low: float, high: float) -> None:
    assert exact_interval(hits, items) == pytest.approx((low, high), abs=1e-4)


def test_the_bootstrap_is_about_as_wide_as_the_exact_interval() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    said = np.where(rng.random(400) < 0.8, labels, 1 - labels)
    accuracy = ItemScore("label", score=lambda a, b, w: float((a == b).mean()))
    low, high = interval(accuracy, {"label": labels, "predicted": said})
    assert (low, high) == pytest.approx(exact_interval(int((labels == said).sum()), 400), abs=0.01)
