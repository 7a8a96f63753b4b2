"""A beginning that sequences share is computed once, and each gets its scores as if alone."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from gpt_research.base import startup
from gpt_research.evaluation import evaluated_model, packing
from gpt_research.evaluation.evaluated_model import EvaluatedModel, score
from gpt_research.evaluation.packing import LARGEST_TREE, LEAST_BEGINNING, batches, can_share, pack
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


def few_shot_windows() -> list[Window]:
    """Return windows of which all begin alike, and which share more in threes."""
    rng = random.Random(5)
    items = [rng.choices(range(50), k=4) for _ in range(8)]
    return [Window([*range(10, 20), *item, *rng.choices(range(50), k=3)], 3) for item in items for _ in range(3)]


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
    windows = related_windows(50, 24) + few_shot_windows()
    packed = score(model, windows, runtime, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "LEAST_BEGINNING", 3)
        assert any(row.beginning is not None for row in pack(windows))
        after_beginnings = score(model, windows, runtime, 100)
    monkeypatch.setattr(evaluated_model, "can_share", lambda model: False)
    alone = score(model, windows, runtime, 1)
    for found in (packed, after_beginnings):
        for one, other in zip(found, alone, strict=True):
            assert one.nats == pytest.approx(other.nats, abs=2e-5)
            assert one.greedy.tolist() == other.greedy.tolist()
    assert can_share(model) == (positions != "alibi"), "a bias of distances would see columns"


def test_each_common_beginning_stands_in_a_row_once() -> None:
    context = list(range(100, 140))
    windows = [Window([*context, first, 7, 8], 3) for first in (1, 2, 3)] + [Window([50, 51, 52], 2)]
    rows = pack(windows)
    assert sorted(len(row.tokens) for row in rows) == [2, len(context) + 6]
    assert sorted(index for row in rows for index in row.windows) == [0, 1, 2, 3]
    tree = next(row for row in rows if row.needs_mask)
    assert [tree.depths[column] for column in tree.ways[0]] == list(range(42))
    assert [len(row.tokens) for row in pack(windows, share=False)] == [42, 42, 42, 2]


def test_what_many_rows_begin_with_is_computed_before_them() -> None:
    shots = list(range(1000, 1000 + 2 * LEAST_BEGINNING))
    windows = [Window([*shots, item, 1, ending, 2, 3], 3) for item in range(300) for ending in (4, 5)]
    windows += [Window([*range(200), ending], 1) for ending in (7, 8)]  # no few-shot task
    rows = pack(windows)
    beginnings = {id(row.beginning): row.beginning for row in rows if row.beginning is not None}
    assert [row.tokens for row in rows if row.beginning is None] == [list(range(200))]
    (beginning,) = beginnings.values()
    assert beginning.tokens.tolist() == shots
    assert sum(len(row.tokens) for row in rows) < 300 * 8 + 200
    assert {row.depths[0] for row in rows if row.beginning is not None} == {len(shots)}
    for batch in batches(rows, 2000, 256):
        assert len({id(row.beginning) for row in batch}) == 1


def test_a_batch_is_closed_before_it_is_mostly_padding() -> None:
    rows = pack([Window(list(range(n, n + size)), 1) for n, size in enumerate([400, 60, 50, 49, 10, 9])], share=False)
    assert [[len(row.tokens) for row in batch] for batch in batches(rows, 1000, 100)] == [[399], [59], [49, 48], [9, 8]]
    assert [len(batch) for batch in batches(rows, 2400)] == [6]


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
