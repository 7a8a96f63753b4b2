"""The cache changes what a token costs and nothing else: logits equal the full forward pass."""

from __future__ import annotations

import pytest
import torch
from model_shapes import SHAPES, SMALL

from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import Window
from gpt_research.model_config import GPTConfig


@pytest.fixture(autouse=True)
def no_gradients() -> object:
    with torch.inference_mode():
        yield


def make(config: GPTConfig = SMALL) -> GPT:
    """A model whose attention matters: weights five times as large as at the start of training."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(5)
    return model


def draw(rows: int, length: int = 16) -> torch.Tensor:
    return torch.randint(SMALL.vocab_size, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cuts", [(16,), (1,) * 16, (7, 1, 1, 7), (1, 15), (5, 4, 3, 4)])
def test_cached_logits_equal_full_forward(config: GPTConfig, cuts: tuple[int, ...]) -> None:
    model, tokens = make(config), draw(3)
    cache = model.new_cache(3)
    found = torch.cat([model(part, cache=cache) for part in tokens.split(cuts, dim=1)], dim=1)
    torch.testing.assert_close(found, model(tokens), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "alibi", "qwen3", "alibi_groups"])
@pytest.mark.parametrize("step", [1, 2])
def test_rows_of_different_lengths_equal_each_row_alone(step: int, name: str) -> None:
    model, tokens, lengths = make(SHAPES[name]), draw(4), [3, 9, 1, 10]
    cache = model.new_cache(4)
    model(tokens[:, :10], cache=cache)  # what follows a row's length is padding
    cache.truncate(lengths)
    for _ in range(6 // step):
        begins = cache.lengths
        new = torch.stack([row[begin : begin + step] for row, begin in zip(tokens, begins, strict=True)])
        found = model(new, cache=cache)
        for row, begin in enumerate(begins):
            alone = model(tokens[row : row + 1, : begin + step])[0, -step:]
            torch.testing.assert_close(found[row], alone, atol=1e-4, rtol=1e-5)


def test_selected_rows_go_on_as_they_would_have() -> None:
    model, tokens = make(), draw(3)
    cache = model.new_cache(3)
    model(tokens[:, :8], cache=cache)
    cache.truncate([8, 5, 6])
    cache.select([2, 0, 2])
    assert cache.lengths == [6, 8, 6]
    found = model(torch.tensor([[11], [12], [13]]), cache=cache)[:, 0]
    for row, (source, length, token) in enumerate([(2, 6, 11), (0, 8, 12), (2, 6, 13)]):
        text = torch.cat((tokens[source, :length], torch.tensor([token])))[None]
        torch.testing.assert_close(found[row], model(text)[0, -1], atol=1e-4, rtol=1e-5)


def test_a_replaced_row_leaves_its_neighbours_alone() -> None:
    model, tokens = make(), draw(3)
    cache, other = model.new_cache(3), model.new_cache(1)
    model(tokens[:, :12], cache=cache)
    model(tokens[1:2, 6:10], cache=other)
    cache.replace([1], other)
    assert cache.lengths == [12, 4, 12]
    found = model(tokens[:, 12:13], cache=cache)[:, 0]
    moved = torch.cat((tokens[1, 6:10], tokens[1, 12:13]))[None]
    torch.testing.assert_close(found[1], model(moved)[0, -1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found[[0, 2]], model(tokens[[0, 2], :13])[:, -1], atol=1e-4, rtol=1e-5)


def test_rows_that_join_a_cache_leave_the_others_alone() -> None:
    model, tokens = make(), draw(4)
    cache, other = make().new_cache(2, 8), make().new_cache(2, 6)
    model(tokens[:2, :8], cache=cache)
    model(tokens[2:, :6], cache=other)
    cache.resize(4, 12, reserve=5)
    cache.replace([2, 3], other, [1, 1])
    assert cache.lengths == [8, 8, 6, 6]
    assert (cache.storage.size(2), cache.capacity) == (5, 12)
    found = model(torch.tensor([[11], [12], [13], [14]]), cache=cache)[:, 0]
    for row, (source, length, token) in enumerate([(0, 8, 11), (1, 8, 12), (3, 6, 13), (3, 6, 14)]):
        text = torch.cat((tokens[source, :length], torch.tensor([token])))[None]
        torch.testing.assert_close(found[row], model(text)[0, -1], atol=1e-4, rtol=1e-5)


def test_a_row_within_the_room_costs_no_new_memory() -> None:
    cache = make().new_cache(1, 4)
    cache.resize(2, 4, reserve=3)
    storage = cache.storage
    cache.resize(3, 4, reserve=100)
    assert cache.storage is storage
    assert cache.lengths == [0, 0, 0]


def test_what_a_former_text_left_in_a_row_reaches_no_other() -> None:
    model, tokens = make(), draw(2)
    cache, other = make().new_cache(2), make().new_cache(1)
    model(tokens, cache=cache)
    cache.storage[:, :, 1] = torch.inf
    cache.truncate([10, 10])
    model(tokens[:1, :5], cache=other)
    cache.replace([1], other)
    found = model(tokens[:, 10:11], cache=cache)[:, 0]
    text = torch.cat((tokens[:1, :5], tokens[1:, 10:11]), dim=1)
    torch.testing.assert_close(found[1], model(text)[0, -1], atol=1e-4, rtol=1e-5)


def test_memory_is_for_the_capacity_and_never_beyond_the_context() -> None:
    assert make().new_cache(2, capacity=5).storage.numel() == 2 * 2 * 2 * 5 * 32
    assert make().new_cache(2, capacity=1000).capacity == 16


def test_a_full_cache_refuses_more() -> None:
    model = make()
    cache = model.new_cache(1, capacity=4)
    model(draw(1, 4), cache=cache)
    with pytest.raises(AssertionError, match="slide"):
        model(draw(1, 1), cache=cache)


@pytest.mark.parametrize("name", ["gpt2", "sinusoidal", "alibi", "qwen3", "alibi_groups"])
@pytest.mark.parametrize("columns", [12, 16])
def test_a_window_of_fixed_columns_gives_each_row_what_it_gets_alone(columns: int, name: str) -> None:
    model, tokens, begins = make(SHAPES[name]), draw(4), [3, 9, 1, 10]
    cache = model.new_cache(4)
    model(tokens[:, :10], cache=cache)  # what follows a row's length is padding
    cache.truncate(begins)
    cache.resize(4, 16, reserve=4)
    lengths = torch.tensor(begins)
    window = Window(cache, lengths, columns)
    for step in range(2):
        new = torch.stack([row[begin + step] for row, begin in zip(tokens, begins, strict=True)])
        found = model(new[:, None], cache=window)[:, 0]
        lengths.add_(1)
        for row, begin in enumerate(begins):
            alone = model(tokens[row : row + 1, : begin + step + 1])[0, -1]
            torch.testing.assert_close(found[row], alone, atol=1e-4, rtol=1e-5)


def test_a_row_beyond_its_window_leaves_the_others_alone() -> None:
    model, tokens = make(), draw(2)
    cache = model.new_cache(2)
    model(tokens[:, :8], cache=cache)
    lengths = torch.tensor([8, 99])  # the second row has ended, and goes on counting
    found = model(tokens[:, 8:9], cache=Window(cache, lengths, 10))[0, 0]
    torch.testing.assert_close(found, model(tokens[:1, :9])[0, -1], atol=1e-4, rtol=1e-5)


def test_a_window_has_its_mask_as_truths_and_as_numbers() -> None:
    cache = make().new_cache(2)
    window = Window(cache, torch.tensor([0, 2]), 4)
    window.extend(1)
    assert window.mask is not None
    assert window.bias is not None
    assert window.mask[:, 0, 0].tolist() == [[True, False, False, False], [True, True, True, False]]
    assert window.bias.dtype == cache.storage.dtype
    assert window.bias.exp().bool().equal(window.mask)
    assert window.layers[1].bias is window.bias
