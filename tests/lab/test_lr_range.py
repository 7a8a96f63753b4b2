"""A range test suggests a rate only if it has seen the loss turn."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_runs import BASE

from gpt_research.lab.lr_range import draw, read_range_test, rising

STEPS = 60


def curve(run: Path, loss: Callable[[int], float], steps: int = STEPS) -> Path:
    """Write the metrics of a run whose rate rises tenfold every ten steps."""
    run.mkdir()
    lines = [
        {"step": step, "loss": loss(step) + 0.02 * math.sin(step), "learning_rate": 10 ** (step / 10 - 5)}
        for step in range(1, steps + 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_the_place_where_the_loss_turns_is_found(tmp_path: Path) -> None:
    test = read_range_test(curve(tmp_path / "run", lambda step: 5 + abs(step - 40) / 20), STEPS)
    assert 0.1 <= test.turn <= 0.4  # the average comes a little later
    assert test.suggestion == pytest.approx(test.turn / 3, rel=0.05)


@pytest.mark.parametrize(
    ("loss", "remedy"), [(lambda step: 6 - step / 30, "Raise --high"), (lambda step: 2 + step / 5, "Lower --low")]
)
def test_without_a_turn_no_rate_is_suggested(tmp_path: Path, loss: Callable[[int], float], remedy: str) -> None:
    test = read_range_test(curve(tmp_path / "run", loss), STEPS)
    assert (test.turn, test.suggestion) == (None, None)
    assert remedy in test.why
    draw(test, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").is_file()


def test_a_loss_that_ends_is_a_turn(tmp_path: Path) -> None:
    """Training stops if the gradients are not finite any more."""
    test = read_range_test(curve(tmp_path / "run", lambda step: 6 - step / 30, steps=40), STEPS)
    assert test.turn == pytest.approx(0.1, rel=0.3)


def test_a_base_that_looks_at_its_validation_can_be_tested() -> None:
    base = dataclasses.replace(BASE, keep_best=True, early_stopping=3)
    assert rising(base, 1e-5, 1.0, 20).config.learning_rate == 1.0
