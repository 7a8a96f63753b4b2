"""A beginning that sequences share is computed once, and each gets its scores as if alone."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from gpt_research.base import startup
from gpt_research.evaluation import evaluated_model
from gpt_research.evaluation.evaluated_model import EvaluatedModel, score
from gpt_research.evaluation.packing import LARGEST_TREE, can_share, pack
from gpt_research.evaluation.windows import Window
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig


def related_windows(vocabulary: int, longest: int, count: int = 60) -> list[Window]:
    """Return windows many of which have a beginning in common, some with one another as a whole."""
    rng = random.Random(3)
    windows = [Window([5, 6, 7], 1), Window([5, 6, 7], 2), Window([5, 6, 8], 1), Window([9, 9], 1)]
    while len(windows) < count:
        start = list(rng.choice(windows).tokens)
        tokens = start[: rng.randrange(1, len(start) + 1)] + rng.choices(range(vocabulary), k=rng.randrange(1, 12))
        tokens = tokens[: longest + 1]
        windows.append(Window(tokens, rng.randrange(1, len(tokens))))
    return windows


@pytest.mark.parametrize("positions", ["learned", "rope", "alibi", "none"])
def test_shared_beginnings_change_no_score(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    config = GPTConfig(
        n_layer=2, n_head=4, n_kv_head=2, n_embd=32, block_size=24, vocab_size=50, positions=positions,
        value_embeddings=True,
    )  # fmt: skip
    model, runtime = GPT(config).eval(), startup.start("cpu", "fp32")
    for parameter in model.parameters():
        parameter.data.mul_(4)  # so that a wrong mask or position changes much
    windows = related_windows(50, 24)
    packed = score(model, windows, runtime, 100)
    monkeypatch.setattr(evaluated_model, "can_share", lambda model: False)
    alone = score(model, windows, runtime, 1)
    for one, other in zip(packed, alone, strict=True):
        assert one.nats == pytest.approx(other.nats, abs=2e-5)
        assert one.greedy.tolist() == other.greedy.tolist()
    assert can_share(model) == (positions != "alibi"), "a bias of distances would see columns"


def test_each_common_beginning_stands_in_a_row_once() -> None:
    context = list(range(100, 140))
    windows = [Window([*context, first, 7, 8], 3) for first in (1, 2, 3)] + [Window([50, 51, 52], 2)]
    rows = pack(windows)
    assert sorted(len(row.tokens) for row in rows) == [2, len(context) + 6]
    assert sorted(index for row in rows for index in row.windows) == [0, 1, 2, 3]
    tree = next(row for row in rows if row.is_tree)
    assert [tree.depths[column] for column in tree.ways[0]] == list(range(42))
    assert [len(row.tokens) for row in pack(windows, share=False)] == [42, 42, 42, 2]


def test_trees_stay_small() -> None:
    windows = [Window([1, *range(number, number + 9)], 9) for number in range(10, 500)]
    assert max(len(row.tokens) for row in pack(windows)) <= LARGEST_TREE


def test_equal_windows_get_equal_scores_to_the_last_bit(evaluated: EvaluatedModel) -> None:
    """Otherwise the order of adding would decide a tie."""
    encode = evaluated.tokenizer.encode
    pairs = [(encode("the king"), encode(text)) for text in (" takes the crown", " gives the sword") * 40]
    shuffled = random.Random(4).sample(range(80), 80)
    found = dataclasses.replace(evaluated, batch_size=1).token_continuations([pairs[n] for n in shuffled])
    for kind in (0, 1):
        nats = found.nats[[n % 2 == kind for n in shuffled]]
        assert len(np.unique(nats)) == 1
