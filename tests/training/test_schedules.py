"""The learning rate warms up from above zero, peaks where promised and ends where promised."""

import dataclasses
import math

import pytest

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.training.schedules import learning_rates

CONFIG = TrainConfig(max_steps=1001, warmup_steps=100, learning_rate=1.0, min_lr_ratio=0.1)


def test_warm_up_rises_in_a_line_to_the_highest_rate() -> None:
    assert learning_rates(CONFIG)(0) == pytest.approx(0.01)
    assert learning_rates(CONFIG)(49) == pytest.approx(0.5)
    assert learning_rates(CONFIG)(99) == learning_rates(CONFIG)(100) == 1.0


def test_cosine_decays_to_the_lowest_rate_at_the_last_step() -> None:
    assert learning_rates(CONFIG)(550) == pytest.approx(0.55)
    assert learning_rates(CONFIG)(325) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert learning_rates(CONFIG)(1000) == pytest.approx(0.1)


def test_linear_and_constant_are_what_they_say() -> None:
    linear = dataclasses.replace(CONFIG, schedule="linear")
    assert learning_rates(linear)(325) == pytest.approx(0.775)
    assert learning_rates(linear)(1000) == pytest.approx(0.1)
    assert learning_rates(dataclasses.replace(CONFIG, schedule="constant"))(1000) == 1.0


def test_no_warm_up_begins_at_the_highest_rate() -> None:
    assert learning_rates(dataclasses.replace(CONFIG, warmup_steps=0))(0) == 1.0


def test_an_unknown_schedule_is_one_sentence_with_the_closest_name() -> None:
    with pytest.raises(UserError, match=r'schedule is "cosin".*Did you mean "cosine"'):
        learning_rates(dataclasses.replace(CONFIG, schedule="cosin"))
