"""Filters are compared with their definitions in plain Python, and draws with the distribution."""

from __future__ import annotations

import math

import pytest
import torch

from gpt_research.config import GenerateConfig
from gpt_research.generation.sampling import choose, draw, keep_min_p, keep_top_k, keep_top_p, penalise_repetition

GREEDY = GenerateConfig(temperature=0)
ROWS = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 2
TIES = torch.tensor([[1.0, 3.0, 2.0, 2.0, 3.0, 0.0, 2.0]])


def kept(logits: torch.Tensor) -> list[set[int]]:
    """The tokens of each row that a filter left."""
    return [{i for i, value in enumerate(row) if value > -math.inf} for row in logits.tolist()]


def shares(config: GenerateConfig, logits: torch.Tensor, draws: int = 50_000) -> torch.Tensor:
    """How often each token comes up over evenly spread uniform numbers."""
    uniforms = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    tokens = choose(logits.expand(draws, -1), config, uniforms)
    return torch.bincount(tokens, minlength=logits.size(-1)) / draws


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert choose(ROWS, GREEDY, torch.rand(6)).tolist() == [
        max(range(40), key=row.__getitem__) for row in ROWS.tolist()
    ]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_tokens_come_as_often_as_the_softmax_at_the_temperature_says(temperature: float) -> None:
    logits = ROWS[0, :12]
    found = shares(GenerateConfig(temperature=temperature, top_k=0), logits)
    torch.testing.assert_close(found, (logits / temperature).softmax(-1), atol=4e-5, rtol=0)


def test_random_uniforms_give_the_softmax_within_their_noise() -> None:
    logits, draws = ROWS[1, :12], 50_000
    uniforms = torch.rand(draws, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(draw(logits.expand(draws, -1), uniforms), minlength=12)
    expected = logits.double().softmax(-1) * draws
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi-squared, 11 degrees of freedom, p = 0.001


def test_all_filters_together_draw_from_what_is_left_in_its_proportions() -> None:
    logits = ROWS[2, :12] / 3
    config = GenerateConfig(temperature=0.7, top_k=6, top_p=0.9, min_p=0.05)
    left = keep_min_p(keep_top_p(keep_top_k(logits[None] / 0.7, 6), 0.9), 0.05)
    assert 1 < len(kept(left)[0]) < 6
    torch.testing.assert_close(shares(config, logits), left[0].softmax(-1), atol=4e-5, rtol=0)


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 0.5, 1 - 2**-53])
def test_a_removed_token_is_never_drawn(uniform: float) -> None:
    logits = torch.full((1, 9), -torch.inf)
    logits[0, 3:6] = torch.tensor([0.1, 0.2, 0.3])
    assert draw(logits, torch.tensor([uniform], dtype=torch.float64)).item() in (3, 4, 5)


@pytest.mark.parametrize("k", [1, 2, 7, 39])
def test_top_k_keeps_the_tokens_that_fewer_than_k_are_likelier_than(k: int) -> None:
    expected = [{i for i, a in enumerate(row) if sum(b > a for b in row) < k} for row in ROWS.tolist()]
    assert kept(keep_top_k(ROWS, k)) == expected
    assert all(len(row) == k for row in expected)


@pytest.mark.parametrize(("k", "expected"), [(1, {1, 4}), (2, {1, 4}), (3, {1, 2, 3, 4, 6}), (6, {0, 1, 2, 3, 4, 6})])
def test_top_k_keeps_equals_together(k: int, expected: set[int]) -> None:
    assert kept(keep_top_k(TIES, k)) == [expected]


@pytest.mark.parametrize("k", [0, 40, 41, 10**9])
def test_top_k_of_none_or_more_than_the_vocabulary_changes_nothing(k: int) -> None:
    torch.testing.assert_close(
        shares(GenerateConfig(temperature=1, top_k=k), ROWS[3]), ROWS[3].softmax(-1), atol=4e-5, rtol=0
    )


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_fewest_tokens_that_reach_p(p: float) -> None:
    for row, found in zip(ROWS.double().softmax(-1).tolist(), kept(keep_top_p(ROWS, p)), strict=True):
        order = sorted(range(40), key=lambda i: -row[i])
        size = next(n for n in range(1, 41) if math.fsum(row[i] for i in order[:n]) >= p)
        assert found == set(order[:size])


@pytest.mark.parametrize(("p", "expected"), [(0.01, {1, 4}), (0.3, {1, 4}), (0.65, {1, 2, 3, 4, 6})])
def test_top_p_keeps_equals_together(p: float, expected: set[int]) -> None:
    # exp(3) twice, exp(2) thrice, exp(1), exp(0): the two most likely have 0.60, and the first five
    # 0.94
    assert kept(keep_top_p(TIES, p)) == [expected]


def test_top_p_one_keeps_every_token() -> None:
    logits = torch.tensor([0.0, -20.0, -30.0, -50.0])
    config = GenerateConfig(temperature=1, top_k=0, top_p=1.0)
    last = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert choose(logits[None], config, last).item() > 0  # a nucleus of any p < 1 - 1e-8 is token 0 alone


def test_a_nucleus_of_thousands_of_tokens_is_whole() -> None:
    logits = torch.zeros(2, 5000)
    logits[0] = torch.linspace(0, 1e-3, 5000)  # nearly flat: 90% of the mass is nearly 90% of the tokens
    logits[1, 7] = 50.0
    sizes = [len(row) for row in kept(keep_top_p(logits, 0.9))]
    assert sizes[0] == pytest.approx(4500, abs=3)
    assert sizes[1] == 1


def test_top_p_counts_only_what_top_k_left() -> None:
    logits = torch.tensor([0.5, 0.3, 0.1, 0.1]).log()  # after top-k 2: 0.625, 0.375
    found = shares(GenerateConfig(temperature=1, top_k=2, top_p=0.6), logits)
    assert found.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("min_p", [0.01, 0.1, 0.5, 1.0])
def test_min_p_keeps_tokens_of_that_share_of_the_likeliest(min_p: float) -> None:
    expected = [{i for i, a in enumerate(row) if a >= min_p * max(row)} for row in ROWS.softmax(-1).tolist()]
    assert kept(keep_min_p(ROWS, min_p)) == expected


def test_the_penalty_divides_positive_and_multiplies_negative_logits_of_seen_tokens() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0, 0.0]])
    seen = torch.tensor([[True, True, False, False, True]])
    assert penalise_repetition(logits, seen, 4.0).tolist() == [[0.5, -8.0, 2.0, -2.0, 0.0]]


def test_the_penalty_can_change_the_greedy_choice() -> None:
    logits, seen = torch.tensor([[3.0, 2.0]]), torch.tensor([[True, False]])
    config = GenerateConfig(temperature=0, repetition_penalty=2.0)
    assert choose(logits, config, torch.zeros(1), seen).item() == 1


def test_a_row_is_drawn_alike_alone_and_in_a_batch() -> None:
    config = GenerateConfig(temperature=1.3, top_k=20, top_p=0.8, min_p=0.01)
    uniforms = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    alone = [choose(ROWS[i : i + 1], config, uniforms[i : i + 1]).item() for i in range(6)]
    assert choose(ROWS, config, uniforms).tolist() == alone
