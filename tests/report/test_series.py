"""What a curve keeps of the numbers of runs, and what several runs become together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpt_research.report.series import RunLines, Setting, band, paired_difference, pairs, thinned


def run_of(losses: list[float | None], seed: int = 1, every: int = 1) -> RunLines:
    return RunLines("run", seed, [{"step": (n + 1) * every, "loss": loss} for n, loss in enumerate(losses)])


@pytest.mark.parametrize("most", [50, 1000])
def test_a_thinned_curve_keeps_its_ends_its_extremes_and_its_gaps(most: int) -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 5000) + np.random.default_rng(1).normal(0, 0.1, len(x))
    y[41_234], y[70_001], y[90_000:90_500] = 50.0, -50.0, np.nan
    kept_x, kept_y = thinned(x, y, most)
    assert len(kept_x) <= most + 2
    assert (kept_x[0], kept_x[-1]) == (0, 99_999)
    assert (np.diff(kept_x) > 0).all()
    assert kept_y[kept_x == 41_234] == 50.0
    assert kept_y[kept_x == 70_001] == -50.0
    assert np.isnan(kept_y).any()
    assert set(kept_x) <= set(x)


def test_a_short_curve_stays_as_it_is() -> None:
    x, y = np.arange(10.0), np.arange(10.0) ** 2
    assert all((one == other).all() for one, other in zip(thinned(x, y, 10), (x, y), strict=True))


def test_a_band_is_the_mean_the_least_and_the_largest_where_all_runs_have_been() -> None:
    x = np.arange(1.0, 6.0)
    found = band([(x, x * 1.0), (x[1:], x[1:] * 3.0), (x, np.full(5, 2.0))], 100)
    assert found is not None
    assert found.x.tolist() == [2, 3, 4, 5]
    assert found.mean.tolist() == pytest.approx([(v + 3 * v + 2) / 3 for v in (2, 3, 4, 5)])
    assert found.low.tolist() == [2, 2, 2, 2]
    assert found.high.tolist() == [6, 9, 12, 15]


def test_a_long_band_keeps_the_extremes_of_every_run() -> None:
    x = np.arange(10_000.0)
    one, other = np.ones(10_000), np.ones(10_000)
    one[1234], other[8765] = 9.0, -9.0
    found = band([(x, one), (x, other)], 50)
    assert found is not None
    assert len(found.x) == 50
    assert found.high.max() == 9
    assert found.low.min() == -9


def test_runs_without_a_common_place_have_no_band() -> None:
    x = np.arange(3.0)
    assert band([(x, x), (x + 10, x)], 10) is None
    assert band([(x, np.full(3, np.nan)), (x, x)], 10) is None


def test_paired_differences_have_the_interval_of_students_t() -> None:
    x = np.array([1.0, 2.0])
    base = [np.array([1.0, 2.0]), np.array([2.0, 3.0]), np.array([3.0, 4.0])]
    changes = [np.array([0.1, 0.2]), np.array([0.3, 0.2]), np.array([0.2, 0.2])]
    found = paired_difference([((x, b), (x, b + d)) for b, d in zip(base, changes, strict=True)], 0.95)
    assert found is not None
    assert found.mean.tolist() == pytest.approx([0.2, 0.2])
    # 4.3027 is the 97.5% quantile of Student's t with 2 degrees of freedom.
    assert found.high[0] - found.mean[0] == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-3)
    assert found.high[1] == pytest.approx(0.2)


def test_one_pair_has_a_difference_and_no_interval() -> None:
    x = np.array([1.0])
    found = paired_difference([((x, np.array([1.0])), (x, np.array([3.0])))], 0.95)
    assert found is not None
    assert found.mean.tolist() == [2.0]
    assert np.isnan(found.low).all()


def test_pairs_have_the_same_seed_and_no_other() -> None:
    base = [run_of([1.0], seed) for seed in (3, 1, 2)]
    other = [run_of([1.0], seed) for seed in (2, 4, 3)]
    assert [(a.seed, b.seed) for a, b in pairs(base, other)] == [(2, 2), (3, 3)]


def test_a_number_that_is_not_finite_is_a_gap_and_a_repeated_step_counts_once() -> None:
    run = RunLines("run", 1, [{"step": 1, "loss": 5.0}, {"step": 2, "loss": None}, {"step": 2, "loss": 4.0},
                              {"step": 3, "loss": None}, {"step": 4, "event": "spike"}])  # fmt: skip
    x, y = run.series("loss")
    assert x.tolist() == [1, 2, 3]
    assert y[:2].tolist() == [5, 4]
    assert np.isnan(y[2])


def test_the_training_loss_is_the_mean_where_there_is_one() -> None:
    lines = [
        {"step": 1, "loss": 5.0, "mean_loss": 6.0},
        {"step": 2, "loss": 4.0},
        {"step": 3, "loss": 3.0, "mean_loss": None},
    ]
    assert RunLines("run", 1, lines).training_loss()[1].tolist() == [6, 4, 3]


def test_a_validation_stands_at_the_time_of_its_step() -> None:
    lines = [
        {"step": 1, "elapsed_s": 2.0},
        {"step": 1, "val_loss": 5.0},
        {"step": 2, "elapsed_s": 4.5},
        {"step": 2, "val_loss": 4.0},
    ]
    x, y = RunLines("run", 1, lines).series("val_loss", "elapsed_s")
    assert (x.tolist(), y.tolist()) == ([2.0, 4.5], [5.0, 4.0])


@pytest.mark.parametrize(
    ("losses", "at"),
    [
        ([3.0, 2.0], None),
        ([3.0, None, 2.0], None),
        ([3.0, 2.0, None], 3),
        ([3.0, None, None], 2),
        ([None], 1),
        ([], None),
    ],
)
def test_a_run_diverged_if_its_last_loss_is_not_finite(losses: list[float | None], at: int | None) -> None:
    assert run_of(losses).diverged_at == at


def test_a_run_that_diverged_or_ended_early_is_drawn_alone() -> None:
    whole, slower = run_of([3.0] * 10, 1), run_of([3.0] * 9, 2)
    short, diverged = run_of([3.0] * 3, 3), run_of([3.0] * 5 + [None] * 5, 4)
    joined, apart = Setting("A", "", [whole, short, diverged, slower]).together
    assert joined == [whole, slower]
    assert apart == [short, diverged]
