"""A part is chosen by its name, starts from a stream of its own, and states what it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn as nn
from model_shapes import SHAPES as KINDS
from model_shapes import SMALL

from gpt_research.base.errors import UserError
from gpt_research.model.fast import attention as fast_attention
from gpt_research.model.fast.norms import rms_normed
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import (
    ACTIVATIONS,
    ATTENTION,
    NORMS,
    POSITIONS,
    CausalSelfAttention,
    Positions,
    check_variants,
)
from gpt_research.model_config import GPTConfig


class Turned(Positions):
    """A toy rotary encoding: one angle for all pairs, in proportion to the position."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()

    def rotate(self, q: torch.Tensor, k: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angle = (at[None] if at.dim() == 1 else at)[:, None, :, None] / 7  # (B or 1, 1, T, 1)

        def turn(x: torch.Tensor) -> torch.Tensor:
            a, b = x.chunk(2, -1)
            return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)

        return turn(q), turn(k)


class ScaleNorm(nn.Module):
    """A toy norm with one weight."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * nn.functional.normalize(x, dim=-1)


class Sharp(CausalSelfAttention):
    """A toy attention whose queries are twice as large."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.qkv.register_forward_hook(lambda _, __, y: y * torch.tensor([2.0, 1.0, 1.0]).repeat_interleave(32))


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POSITIONS, "turned", Turned)
    monkeypatch.setitem(NORMS, "scale", ScaleNorm)
    monkeypatch.setitem(ACTIVATIONS, "relu2", lambda x: x.relu().square())
    monkeypatch.setitem(ATTENTION, "sharp", Sharp)


def draw(rows: int = 3, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(SMALL.vocab_size, (rows, SMALL.block_size), generator=generator)


TOYS = [{"positions": "turned"}, {"norm": "scale"}, {"activation": "relu2"}, {"attention": "sharp"}]


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("change", [*TOYS, {k: v for toy in TOYS for k, v in toy.items()}], ids=str)
def test_a_part_from_outside_changes_the_logits_and_the_cache_equals_the_full_forward(change: dict[str, str]) -> None:
    config = replace(SMALL, **change)  # type: ignore[arg-type]
    check_variants(config)
    model, plain, tokens = GPT(config, 1).eval(), GPT(SMALL, 1).eval(), draw()
    with torch.inference_mode():
        for m in (model, plain):
            for parameter in m.parameters():
                parameter.mul_(3)  # at the start of training attention hardly shows
        full = model(tokens)
        assert not torch.allclose(full, plain(tokens), atol=1e-3)
        cache = model.new_cache(3)
        found = torch.cat([model(part, cache=cache) for part in tokens.split((7, 1, 1, 7), dim=1)], dim=1)
        torch.testing.assert_close(found, full, atol=1e-4, rtol=1e-5)
        cache.truncate([3, 9, 1])  # rows of different lengths: positions come as (B, T)
        found = model(torch.tensor([[5], [6], [7]]), cache=cache)[:, 0]
        for row, (length, token) in enumerate([(3, 5), (9, 6), (1, 7)]):
            text = torch.cat((tokens[row, :length], torch.tensor([token])))[None]
            torch.testing.assert_close(found[row], model(text)[0, -1], atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("toys")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # the compiler's
@pytest.mark.parametrize("config", [*KINDS.values(), replace(SMALL, positions="turned")], ids=[*KINDS, "turned"])
def test_a_model_is_one_graph(config: GPTConfig) -> None:
    torch.compiler.reset()  # torch compiles a function for a few models only
    model, tokens, targets = GPT(config, 0), draw(), draw(seed=2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens, targets), model(tokens, targets))
    by_block = GPT(config, 0)
    for block in by_block.blocks:
        block.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(by_block(tokens, targets), model(tokens, targets))


@pytest.mark.parametrize("setting", ["norm", "activation", "positions", "attention"])
def test_a_name_that_no_table_has_is_refused_before_and_when_the_model_is_built(setting: str) -> None:
    name = {"norm": "layernorms", "activation": "gelu_tan", "positions": "learnt", "attention": "casual"}[setting]
    config = replace(SMALL, **{setting: name})  # type: ignore[arg-type]
    for build in (check_variants, GPT):
        with pytest.raises(UserError, match=rf'model\.{setting} is "{name}".*Did you mean "'):
            build(config)


def test_a_model_without_the_new_settings_has_the_names_of_0_1() -> None:
    block = [
        *("norm_1.weight", "norm_1.bias", "attention.qkv.weight", "attention.qkv.bias", "attention.proj.weight"),
        *("attention.proj.bias", "norm_2.weight", "norm_2.bias", "mlp.up.weight", "mlp.up.bias", "mlp.down.weight"),
        "mlp.down.bias",
    ]
    expected = ["token_embedding.weight", "position_embedding.weight"]
    expected += [f"blocks.{index}.{name}" for index in range(2) for name in block]
    expected += ["norm.weight", "norm.bias", "head.weight"]
    assert list(GPT(SMALL).state_dict()) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"positions": "sinusoidal"},
        {"tie_weights": False},
        {"vocab_size": 100},
        {"dropout": 0.1},
        {"positions": "rope", "activation": "swiglu", "qk_norm": True, "norm": "rmsnorm", "value_embeddings": True},
    ],
    ids=str,
)
def test_models_that_share_a_part_start_with_the_same_part(change: dict[str, object]) -> None:
    one = dict(GPT(SMALL, 5).named_parameters())
    other = dict(GPT(replace(SMALL, **change), 5).named_parameters())  # type: ignore[arg-type]
    shared = one.keys() & other.keys()
    assert len(shared) > 0.7 * len(one)
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(1)
    one = GPT(SMALL, 5)
    torch.manual_seed(2)
    with torch.device("cpu"):
        same, other = GPT(SMALL, 5), GPT(SMALL, 6)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == (a.dim() < 2), name
    drawn = [p.flatten()[:8] for p in one.parameters() if p.dim() >= 2]
    assert not any(torch.allclose(a, b) for i, a in enumerate(drawn) for b in drawn[:i]), "streams are not shared"


def test_the_first_weights_of_a_seed_stay_what_they_were() -> None:
    # A run that has no checkpoint yet can be repeated only if they do.
    model = GPT(SMALL, 5)
    for name, expected in {
        "token_embedding.weight": [0.002316, -0.025938, 0.013536, -0.001247],
        "blocks.0.mlp.up.weight": [0.016989, 0.062765, -0.00445, 0.021522],
        "blocks.1.attention.proj.weight": [-0.005336, 0.003049, 0.001533, -0.011007],
    }.items():
        assert model.get_parameter(name)[1, :4].tolist() == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("tie_weights", [True, False])
def test_parts_that_are_drawn_one_by_one_are_those_of_the_whole_model(tie_weights: bool) -> None:
    config = replace(SMALL, tie_weights=tie_weights, positions="sinusoidal")
    whole, model = GPT(config, 5), GPT(config, drawn=False)
    shapes = [name for name, p in model.named_parameters() if p.is_meta]
    assert shapes == [name for name, p in whole.named_parameters() if p.dim() > 1]
    model.initialise(5, "blocks.1")
    assert [name for name in shapes if not model.get_parameter(name).is_meta] == [
        name for name in shapes if name.startswith("blocks.1.")
    ]
    before = model.blocks[1].mlp.up.weight  # what is drawn already is not drawn again
    model.initialise(6, "blocks.1")
    model.initialise(5)
    assert model.blocks[1].mlp.up.weight is before
    for tensors in (GPT.named_parameters, GPT.named_buffers):
        one, other = dict(tensors(whole)), dict(tensors(model))
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert (model.head.weight is model.token_embedding.weight) == tie_weights


def test_without_a_seed_torchs_random_stream_decides() -> None:
    torch.manual_seed(1)
    one, other = GPT(SMALL), GPT(SMALL)
    torch.manual_seed(1)
    again = GPT(SMALL)
    assert torch.equal(one.head.weight, again.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_model_without_memory_counts_as_any_other() -> None:
    with torch.device("meta"):
        model = GPT(GPTConfig(n_layer=96, n_head=96, n_embd=12288, block_size=2048))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.num_parameters() == pytest.approx(175e9, rel=0.01)  # GPT-3


SHAPES = {
    "gpt2": GPTConfig(),
    "xl_untied": GPTConfig(n_layer=48, n_head=25, n_embd=1600, block_size=1024, tie_weights=False, bias=False),
    "dropout": GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=96, dropout=0.1, positions="sinusoidal"),
}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_what_the_parts_state_sums_up_to_the_published_formulas(
    name: str, checkpointing: bool, dtype: torch.dtype, device: str
) -> None:
    """Chowdhery et al. 2022, appendix B, and Korthikanti et al. 2022, section 4.1, for a whole
    model."""
    config = SHAPES[name]
    with torch.device("meta"):
        model = GPT(config)
    L, C, T, H = config.n_layer, config.n_embd, config.block_size, config.n_head
    multiplied = model.num_parameters(embedding=False) + (config.vocab_size * C if config.tie_weights else 0)
    assert model.flops_per_token() == 6 * multiplied + 12 * L * C * T
    a = dtype.itemsize
    layer = (8 + 14 * a) * C
    if config.dropout:
        layer += 2 * C + ((2 * a + 1) * H * T if device == "cpu" else 0)
    elif fast_attention.keeps_weights(device, dtype, T):
        layer += a * H * (T + fast_attention.BLOCK) // 2
    kept = (L * 4 * C + layer if checkpointing else L * layer) + (8 + a) * C
    model.gradient_checkpointing = checkpointing
    assert model.activation_bytes(device, dtype) == kept + 12 * config.padded_vocab_size
    model.loss_chunk = 512
    assert model.activation_bytes(device, dtype) == kept


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 3, 4, 16), (1, 700, 128)])
def test_our_gradient_of_rms_norm_is_torchs(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(shape, generator=generator) for _ in range(2))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = rms_normed(ours, 1e-3), torch.nn.functional.rms_norm(theirs, shape[-1:], eps=1e-3)
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(rms_normed(x, 1e-3), expected.detach())  # as generation takes it
