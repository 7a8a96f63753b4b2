"""What is shown of a model is what its own forward pass computes, for every kind of model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from model_shapes import LLAMA, SHAPES, SMALL

from gpt_research.base.errors import UserError
from gpt_research.inspection.attention import attention_weights, head_pictures
from gpt_research.inspection.lens import logit_lens
from gpt_research.inspection.predictions import predict
from gpt_research.inspection.switching import effects, switch_off
from gpt_research.inspection.watching import Off, watch
from gpt_research.model.gpt import GPT
from gpt_research.model.parts.attention import ATTENTION, CausalSelfAttention
from gpt_research.model_config import GPTConfig


def trained(config: GPTConfig) -> GPT:
    """Return a model whose weights are large, so that every part of it changes the output."""
    model = GPT(config, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(params=sorted(SHAPES), scope="module")
def model(request: pytest.FixtureRequest) -> GPT:
    return trained(SHAPES[request.param])


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(70, size=16)


@torch.no_grad()
def log_p(model: GPT, tokens: np.ndarray) -> np.ndarray:
    return model(torch.from_numpy(tokens)[None])[0].double().log_softmax(-1).numpy()


def test_predictions_are_those_of_the_models_own_pass(model: GPT, tokens: np.ndarray) -> None:
    seen, expected = predict(model, tokens, top=4), log_p(model, tokens)
    assert np.isnan(seen.surprise[0])
    assert seen.rank[0] == -1
    own = expected[np.arange(15), tokens[1:]]
    np.testing.assert_allclose(seen.surprise[1:], -own, atol=1e-5)
    np.testing.assert_array_equal(seen.rank[1:], (expected[:15] > own[:, None]).sum(1))
    np.testing.assert_allclose(seen.entropy, -(np.exp(expected) * expected).sum(1), atol=1e-5)
    np.testing.assert_array_equal(seen.top, np.argsort(-expected, 1)[:, :4])
    np.testing.assert_allclose(seen.top_probability, -np.sort(-np.exp(expected), 1)[:, :4], atol=1e-6)
    assert seen.loss == pytest.approx(-own.mean(), abs=1e-5)


def test_attention_weights_are_those_that_mix_the_values(
    model: GPT, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = attention_weights(model, tokens)
    heads = model.config.n_head
    assert weights.shape == (model.config.n_layer, heads, 16, 16)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert not np.triu(weights, 1).any()
    # If values are mixed by these weights, the model's output is the same.
    fused, calls = F.scaled_dot_product_attention, iter(weights)

    def mixed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        return torch.from_numpy(next(calls)) @ v

    expected = log_p(model, tokens)
    monkeypatch.setattr(F, "scaled_dot_product_attention", mixed)
    np.testing.assert_allclose(log_p(model, tokens), expected, atol=1e-4)
    assert fused is not mixed
    assert next(calls, None) is None


def test_a_single_block_and_a_single_token(model: GPT, tokens: np.ndarray) -> None:
    np.testing.assert_array_equal(attention_weights(model, tokens, block=1), attention_weights(model, tokens)[1])
    assert (attention_weights(model, tokens[:1]) == 1).all()
    assert attention_weights(model, tokens[:1]).shape == (model.config.n_layer, model.config.n_head, 1, 1)


def test_the_lens_ends_with_the_prediction_and_begins_with_the_embedding(model: GPT, tokens: np.ndarray) -> None:
    lens, own = logit_lens(model, tokens, top=3), predict(model, tokens, top=3)
    assert len(lens) == model.config.n_layer + 1
    np.testing.assert_allclose(lens[-1].surprise[:-1], own.surprise[1:], atol=1e-5)
    np.testing.assert_array_equal(lens[-1].top, own.top)
    np.testing.assert_allclose(lens[-1].kl, 0, atol=1e-6)
    assert (lens[0].kl > 1e-3).any()
    with torch.no_grad():  # the embedding, with the norm and the head
        ids = torch.from_numpy(tokens)[None]
        stream = model.position_embedding.embed(model.token_embedding(ids), torch.arange(16))
        expected = model.logits(model.norm(stream))[0].double().log_softmax(-1).numpy()
    np.testing.assert_allclose(lens[0].surprise[:-1], -expected[np.arange(15), tokens[1:]], atol=1e-5)


def by_hand(model: GPT, tokens: np.ndarray, off: Off) -> np.ndarray:
    """Return log-probabilities of a model in which weights of the parts that are off are 0."""
    cut = GPT(model.config, seed=1).eval()
    cut.load_state_dict(model.state_dict())
    size = model.config.head_dim
    with torch.no_grad():
        for layer, head in off.heads:
            cut.get_submodule(f"blocks.{layer}.attention.proj").weight[:, head * size : (head + 1) * size] = 0
        for part, layers in (("attention.proj", off.attention), ("mlp.down", off.mlps)):
            for parameter in (p for layer in layers for p in cut.get_submodule(f"blocks.{layer}.{part}").parameters()):
                parameter.zero_()
    for layer in off.layers:
        cut.blocks[layer].forward = lambda x, *rest: x
    return log_p(cut, tokens)


@pytest.mark.parametrize(
    "off",
    [
        Off(heads=[(0, 1)]),
        Off(heads=[(1, 0), (0, 0)], mlps=[1]),
        Off(attention=[0], layers=[1]),
        Off(heads=[(0, 0)], layers=[0, 1]),
    ],
    ids=str,
)
def test_switching_off_equals_a_model_without_these_weights(model: GPT, tokens: np.ndarray, off: Off) -> None:
    found = switch_off(model, tokens, off, top=3)
    before, after = log_p(model, tokens), by_hand(model, tokens, off)
    np.testing.assert_allclose(found.before.surprise[:-1], -before[np.arange(15), tokens[1:]], atol=1e-4)
    np.testing.assert_allclose(found.after.surprise[:-1], -after[np.arange(15), tokens[1:]], atol=1e-4)
    np.testing.assert_allclose(found.after.kl, (np.exp(before) * (before - after)).sum(1), atol=1e-4)
    assert found.after.kl.max() > 1e-3


def test_effects_are_those_of_each_part_alone(model: GPT, tokens: np.ndarray) -> None:
    found = effects(model, tokens)
    assert found.heads.shape == (model.config.n_layer, model.config.n_head)

    def change(off: Off) -> float:
        switched = switch_off(model, tokens, off)
        return switched.after.loss - switched.before.loss

    assert found.heads[1, 0] == pytest.approx(change(Off(heads=[(1, 0)])), abs=1e-5)
    assert found.attention[0] == pytest.approx(change(Off(attention=[0])), abs=1e-5)
    assert found.mlps[1] == pytest.approx(change(Off(mlps=[1])), abs=1e-5)
    assert found.layers[1] == pytest.approx(change(Off(layers=[1])), abs=1e-5)
    assert np.abs(found.heads).max() > 1e-3


def test_the_model_that_is_looked_at_stays_as_it_is(tokens: np.ndarray) -> None:
    model = trained(LLAMA)
    before = log_p(model, tokens)
    switch_off(model, tokens, Off(layers=[0], heads=[(1, 1)]))
    head_pictures(model, tokens)
    assert np.array_equal(log_p(model, tokens), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_looked_at_model_in_training_mode_drops_nothing_and_stays_in_it(tokens: np.ndarray) -> None:
    model = trained(GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=16, vocab_size=70, dropout=0.5)).train()
    seen = logit_lens(model, tokens)
    assert model.training
    np.testing.assert_allclose(seen[-1].surprise, logit_lens(model.eval(), tokens)[-1].surprise)
    assert predict(model.train(), tokens).loss == predict(model.eval(), tokens).loss


def test_head_pictures_pool_what_does_not_fit(tokens: np.ndarray) -> None:
    model = trained(SMALL)
    weights, small = attention_weights(model, tokens), head_pictures(model, tokens, size=6)
    assert small.pool == 3
    assert small.pictures.shape == (2, 2, 6, 6)
    block = weights[1, 0, 6:9, 3:6].max()
    assert small.pictures[1, 0, 2, 1] == round(float(block) * 255)
    assert small.pictures[0, 0, 5, 0] == round(float(weights[0, 0, 15:, :3].max()) * 255)  # the rest
    rows = weights[:, :, 1:]
    np.testing.assert_allclose(small.to_first, rows[..., 0].mean(-1), atol=1e-6)
    np.testing.assert_allclose(small.to_previous, np.diagonal(weights, -1, 2, 3).mean(-1), atol=1e-6)
    np.testing.assert_allclose(small.to_self, np.diagonal(weights, 0, 2, 3)[..., 1:].mean(-1), atol=1e-6)
    back = np.maximum(np.arange(1, 16)[:, None] - np.arange(16), 0)
    np.testing.assert_allclose(small.distance, (rows * back).sum(-1).mean(-1), atol=1e-4)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(rows > 0, rows * np.log(rows), 0), -1).mean(-1)
    np.testing.assert_allclose(small.entropy, entropy, atol=1e-5)
    one = head_pictures(model, tokens[:1])
    assert np.isfinite(one.to_previous).all()
    assert one.pictures.shape == (2, 2, 1, 1)


def test_a_text_beyond_the_context_is_read_in_windows_that_overlap_by_half() -> None:
    model = trained(SMALL)
    tokens = np.random.default_rng(1).integers(70, size=45)
    seen = predict(model, tokens, top=2)
    assert seen.windows == [0, 8, 16, 24, 32]
    assert len(seen.entropy) == len(seen.surprise) == len(seen.top) == 45
    np.testing.assert_allclose(seen.surprise[1:16], predict(model, tokens[:16]).surprise[1:], atol=1e-5)
    for first, begin in ((16, 8), (31, 16), (40, 32)):
        expected = log_p(model, tokens[begin : begin + 16])
        assert seen.surprise[first] == pytest.approx(-expected[first - begin - 1, tokens[first]], abs=1e-5)
        np.testing.assert_array_equal(seen.top[first], np.argsort(-expected[first - begin])[:2])
    with pytest.raises(UserError, match="45 tokens, and the model looks at 16 at most"):
        attention_weights(model, tokens)


def test_a_head_of_larger_vocabulary_than_a_piece_of_logits(
    monkeypatch: pytest.MonkeyPatch, tokens: np.ndarray
) -> None:
    model = trained(SMALL)
    whole = logit_lens(model, tokens)
    monkeypatch.setattr("gpt_research.inspection.readout.LOGIT_BYTES", 4 * 128 * 3)
    for one, other in zip(whole, logit_lens(model, tokens), strict=True):
        np.testing.assert_allclose(one.surprise, other.surprise, atol=1e-5)
        np.testing.assert_allclose(one.kl, other.kl, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: predict(model, []), "no token"),
        (lambda model: predict(model, [3, 70]), "Token id 70 is outside the vocabulary"),
        (lambda model: predict(model, [-1]), "Token id -1"),
        (lambda model: switch_off(model, [1, 2], Off(heads=[(0, 2)])), r"off.heads is \[0, 2\].*0 to 1"),
        (lambda model: switch_off(model, [1, 2], Off(layers=[2])), "off.layers is 2"),
        (lambda model: switch_off(model, [1, 2], Off(mlps=[-1])), "off.mlps is -1"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(call: Callable[[GPT], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(trained(SMALL))


def test_a_model_that_diverged_is_named() -> None:
    model = trained(SMALL)
    with torch.no_grad():
        model.norm.weight.fill_(math.nan)
    with pytest.raises(UserError, match="not finite"):
        predict(model, [1, 2, 3])


class OwnForward(CausalSelfAttention):
    """An attention as a plugin writes it: its own forward pass, and torch's fused attention."""

    def forward(self, x, positions, at, cache=None):  # type: ignore[no-untyped-def]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.1)
        return self.proj(y.transpose(1, 2).flatten(2))


class ByHand(CausalSelfAttention):
    """An attention that does not call torch's."""

    def forward(self, x, positions, at, cache=None):  # type: ignore[no-untyped-def]
        return self.proj(x)


def test_the_attention_of_a_plugin(monkeypatch: pytest.MonkeyPatch, tokens: np.ndarray) -> None:
    monkeypatch.setitem(ATTENTION, "own", OwnForward)
    monkeypatch.setitem(ATTENTION, "by_hand", ByHand)
    model = trained(GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=16, vocab_size=70, attention="own"))
    weights = attention_weights(model, tokens)
    x = model.blocks[0].norm_1(watch(model, torch.from_numpy(tokens)[None], residual=True).residual[0])
    q, k, _ = model.blocks[0].attention.qkv(x).detach().unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    scores = (0.1 * q @ k.mT)[0].masked_fill(torch.ones(16, 16).triu(1) > 0, -torch.inf)
    np.testing.assert_allclose(weights[0], scores.softmax(-1).numpy(), atol=1e-5)
    other = trained(GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=16, vocab_size=70, attention="by_hand"))
    with pytest.raises(UserError, match="ByHand of block 0 calls"):
        attention_weights(other, tokens)
    assert predict(other, tokens).loss > 0
