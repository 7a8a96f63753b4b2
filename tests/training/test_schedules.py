"""The learning rate warms up from above zero, peaks where promised and ends where promised."""

import dataclasses
import math

import pytest

from gpt_research.config import TrainConfig
from gpt_research.training.schedules import learning_rate

CONFIG = TrainConfig(max_steps=1001, warmup_steps=100, learning_rate=1.0, min_lr_ratio=0.1)


def test_warm_up_rises_in_a_line_to_the_highest_rate() -> None:
    assert learning_rate(CONFIG, 0) == pytest.approx(0.01)
    assert learning_rate(CONFIG, 49) == pytest.approx(0.5)
    assert learning_rate(CONFIG, 99) == learning_rate(CONFIG, 100) == 1.0


def test_cosine_decays_to_the_lowest_rate_at_the_last_step() -> None:
    assert learning_rate(CONFIG, 550) == pytest.approx(0.55)
    assert learning_rate(CONFIG, 325) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(CONFIG, 1000) == pytest.approx(0.1)


def test_linear_and_constant_are_what_they_say() -> None:
    linear = dataclasses.replace(CONFIG, schedule="linear")
    assert learning_rate(linear, 325) == pytest.approx(0.775)
    assert learning_rate(linear, 1000) == pytest.approx(0.1)
    assert learning_rate(dataclasses.replace(CONFIG, schedule="constant"), 1000) == 1.0


def test_no_warm_up_begins_at_the_highest_rate() -> None:
    assert learning_rate(dataclasses.replace(CONFIG, warmup_steps=0), 0) == 1.0
