"""Sampling with fixed shapes chooses the tokens that sampling row by row chooses."""

from __future__ import annotations

import random

import pytest
import torch

from gpt_research.config import GenerateConfig
from gpt_research.generation.sampling import choose
from gpt_research.generation.static_sampling import RowSettings, Work


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_chosen_as_each_with_its_own_settings(seed: int) -> None:
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(24, 90, generator=generator) * 2).round(decimals=1)  # so there are equally likely tokens
    uniforms = torch.rand(24, dtype=torch.float64, generator=generator)
    seen = torch.rand(24, 90, generator=generator) < 0.3
    settings = [
        GenerateConfig(
            temperature=rng.choice([0, 0.3, 1.0, 2.5]),
            top_k=rng.choice([0, 1, 3, 10, 89, 90, 1000]),
            top_p=rng.choice([1.0, 0.1, 0.9, 0.999]),
            min_p=rng.choice([0.0, 0.05, 1.0]),
            repetition_penalty=rng.choice([1.0, 1.0, 1.7, 0.8]),
        )
        for _ in range(24)
    ]
    for rows in ([0], range(8), range(24), [row for row in range(24) if settings[row].top_k]):
        rows = list(rows)
        own = RowSettings(len(rows) + 2, torch.device("cpu"))  # two rows are spare
        numbers = [RowSettings.of(settings[row], 90) for row in rows]
        own.load(torch.tensor(numbers, dtype=torch.float64))
        spare = [*rows, 0, 0]
        found = own.choose(logits[spare], Work.of([settings[row] for row in rows], 90), uniforms[spare], seen[spare])
        expected = [
            int(
                choose(
                    logits[[row]],
                    settings[row],
                    uniforms[[row]],
                    seen[[row]] if settings[row].repetition_penalty != 1 else None,
                )
            )
            for row in rows
        ]
        assert found[: len(rows)].tolist() == expected
        assert ((found >= 0) & (found < 90)).all()


def test_a_nucleus_is_sorted_among_what_top_k_leaves() -> None:
    def work(*settings: tuple[int, float]) -> Work:
        return Work.of([GenerateConfig(top_k=k, top_p=p) for k, p in settings], 50_000)

    assert work((200, 1.0)) == Work(False, False, True, 256, 0, False)
    assert work((200, 0.9), (0, 1.0)).nucleus == 256
    assert work((200, 0.9), (0, 0.9)).nucleus == 50_000
    assert work((40_000, 1.0)).top_k == 50_000
