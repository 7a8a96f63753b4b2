"""A small model gets one thread where that is about as fast as all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from gpt_research.generation.engine import Piece, Request
from gpt_research.serving.thread_count import SMALL_STEP_S, TOKENS, fastest_threads


class Sleeping:
    """An engine whose steps take so many seconds with each number of threads."""

    block_size, description, tokenizer = 64, "", SimpleNamespace(end_of_text=0)

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.left, self.tried = seconds, 0, set[int]()

    @property
    def busy(self) -> bool:
        return self.left > 0

    def add(self, request: Request) -> int:
        self.left = TOKENS
        return 0

    def cancel(self, id: int) -> None:
        self.left = 0

    def step(self) -> list[Piece]:
        self.tried.add(torch.get_num_threads())
        time.sleep(self.seconds[torch.get_num_threads()])
        self.left -= 1
        return []


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("alone", "together", "chosen", "tried"),
    [
        (0.002, 0.005, 1, {1, 2}),
        (0.005, 0.005, 1, {1, 2}),
        (0.008, 0.004, 2, {1, 2}),
        (0.0, 2 * SMALL_STEP_S, 2, {2}),
    ],
)
def test_the_faster_number_is_chosen_and_a_large_model_is_not_tried_alone(
    alone: float, together: float, chosen: int, tried: set[int]
) -> None:
    engine = Sleeping({1: alone, 2: together})
    assert fastest_threads(engine, 2) == chosen
    assert engine.tried == tried
    assert not engine.busy
