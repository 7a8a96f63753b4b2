"""A packed model gives the logits of the model it was made from, as exactly as its precision
allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from allocated import allocated_bytes
from model_shapes import SHAPES

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Precision, Runtime
from gpt_research.model.fast.norms import rms_normed
from gpt_research.model.fast.packed import BlockedLinear, Int8Linear, SmallLinear, pack
from gpt_research.model.gpt import GPT

CPU = torch.device("cpu")
X86 = "x86" in torch.backends.quantized.supported_engines
needs_x86 = pytest.mark.skipif(not X86, reason="int8 kernels are for x86")
BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
needs_bf16 = pytest.mark.skipif(not BF16, reason="oneDNN has no bf16 for this processor")


@pytest.fixture(params=["gpt2", "no_bias", "qwen3", "geglu", "alibi_groups"])
def model(request: pytest.FixtureRequest) -> GPT:
    torch.manual_seed(0)
    model = GPT(replace(SHAPES[request.param], n_embd=64, block_size=32, vocab_size=300))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    ("precision", "weights", "rows", "allowed"),
    [
        ("fp32", "same", 1, 1e-5),
        ("fp32", "same", 3, 1e-5),
        ("fp16", "same", 3, 3e-3),
        ("bf16", "same", 1, 3e-2),
        ("bf16", "same", 3, 3e-2),
        pytest.param("fp32", "int8", 3, 6e-2, marks=needs_x86),
    ],
)
@torch.inference_mode()
def test_packed_logits_are_the_models(
    model: GPT, precision: Precision, weights: str, rows: int, allowed: float
) -> None:
    tokens = torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(0))
    expected = model(tokens)
    packed = pack(model, Runtime(CPU, precision), weights, rows=rows)  # type: ignore[arg-type]
    assert error(packed(tokens), expected) < allowed
    cache = packed.new_cache(3)
    packed(tokens[:, :19], cache=cache)
    assert error(packed(tokens[:, 19:], cache=cache)[:, 0], expected[:, -1]) < allowed


@pytest.mark.parametrize("threads", [1, 2])
@torch.inference_mode()
def test_every_layout_for_one_row_gives_the_models_logits(model: GPT, threads: int) -> None:
    tokens, before = torch.randint(300, (1, 20), generator=torch.Generator().manual_seed(0)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert error(pack(model, Runtime(CPU, "fp32"), rows=1)(tokens), model(tokens)) < 1e-5
    finally:
        torch.set_num_threads(before)


def test_packing_leaves_the_model_as_it_was(model: GPT) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    packed = pack(model, Runtime(CPU, "fp32"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert isinstance(model.head, torch.nn.Linear)
    assert packed.token_embedding.weight is model.token_embedding.weight  # shared, not copied


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@torch.inference_mode()
def test_a_model_that_is_used_up_gives_its_matrices_to_the_twin(model: GPT, precision: Precision) -> None:
    tokens = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(0))
    expected = pack(model, Runtime(CPU, precision), rows=2)(tokens)
    twin = pack(model, Runtime(CPU, precision), rows=2, use_up=True)
    assert torch.equal(twin(tokens), expected)
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    if precision == "bf16" and not BF16:  # there is no layout, so the model itself is returned
        assert twin is model
    else:
        assert all(linear.weight is None for linear in linears), "the memory holds each matrix once"


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@torch.inference_mode()
def test_the_division_of_rms_norm_is_torchs(scale: float) -> None:
    x = scale * torch.randn(2, 3, 48, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.rms_norm(x.double(), (48,), eps=1e-6).float()
    torch.testing.assert_close(rms_normed(x, 1e-6), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rms_normed(x.bfloat16(), 1e-6), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bf16)])
@torch.inference_mode()
def test_any_number_of_rows_is_the_linear_layer(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear, allowed = torch.nn.Linear(24, 40), 1e-6 if dtype == torch.float32 else 2e-2
    layer = BlockedLinear(linear, dtype, rows=8)
    for shape in [(1,), (32,), (33,), (2, 17), (5, 13), (3, 1, 71), (300,)]:
        x = torch.randn(*shape, 24)
        assert error(layer(x), linear(x)) < allowed, shape


@pytest.mark.parametrize(
    ("dtype", "allowed", "differ"),
    [(torch.float32, 1e-6, 1.0), pytest.param(torch.bfloat16, 1e-3, 0.01, marks=needs_bf16)],
)
@torch.inference_mode()
def test_a_small_layer_gives_a_row_what_it_gives_many(dtype: torch.dtype, allowed: float, differ: float) -> None:
    torch.manual_seed(0)
    layer, x = SmallLinear(torch.nn.Linear(256, 512), dtype, rows=8), torch.randn(20, 256)
    assert 1 <= layer.few < 20
    many, single = layer(x), torch.cat([layer(row[None]) for row in x])
    # A sum in another order may round to the neighbour, of 8 bits.
    assert error(single, many) < allowed
    assert (single != many).float().mean() < differ


@torch.inference_mode()
def test_texts_of_all_lengths_need_few_kernels() -> None:
    layer = BlockedLinear(torch.nn.Linear(24, 40), torch.float32, rows=8)
    before = allocated_bytes()
    for rows in range(40, 440):
        layer(torch.zeros(rows, 24))
    # A kernel takes half a megabyte, so 400 of them take 200.
    assert allocated_bytes() - before < 30e6


@needs_x86
@torch.inference_mode()
def test_an_int8_row_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    layer, x = Int8Linear(torch.nn.Linear(64, 48)), torch.randn(5, 64)
    x[3] *= 100
    assert torch.equal(layer(x)[:3], torch.cat([layer(x[i : i + 1]) for i in range(3)]))


@needs_x86
@torch.inference_mode()
def test_an_int8_sum_of_the_largest_products_does_not_overflow() -> None:
    linear = torch.nn.Linear(4096, 16, bias=False)
    linear.weight.fill_(1.0)
    for sign in (1.0, -1.0):
        found = Int8Linear(linear)(torch.full((2, 4096), sign))
        torch.testing.assert_close(found, torch.full((2, 16), sign * 4096), rtol=1e-3, atol=0)


@needs_x86
@torch.inference_mode()
def test_an_int8_layer_takes_rows_and_weights_that_are_all_zero() -> None:
    linear = torch.nn.Linear(8, 4)
    linear.weight.zero_()
    torch.testing.assert_close(Int8Linear(linear)(torch.zeros(2, 8)), linear.bias.expand(2, 4))


def test_int8_on_a_device_without_it_is_refused(model: GPT) -> None:
    with pytest.raises(UserError, match="int8"):
        pack(model, Runtime(torch.device("meta"), "fp32"), "int8")
