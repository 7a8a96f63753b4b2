"""Attention as products of blocks is the fused kernel's attention: values and gradients, for any
length."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gpt_research.model.fast import attention
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig


def outputs_and_gradients(how: object, length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Attend as the model does, on parts of one tensor; return the output and the gradient of that
    tensor in fp32."""
    torch.manual_seed(0)
    qkv, weights = torch.randn(2, length, 3, 4, 16), torch.randn(2, 4, length, 16)
    qkv = qkv.to(dtype).requires_grad_()
    y = how(*(x.transpose(1, 2) for x in qkv.unbind(2)))  # type: ignore[operator]
    (gradient,) = torch.autograd.grad((y.float() * weights).sum(), qkv)
    return [y.detach().float(), gradient.float()]


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
def test_blocks_equal_the_fused_kernel(length: int) -> None:
    ours = outputs_and_gradients(attention._in_blocks, length, torch.float32)
    for one, other in zip(ours, outputs_and_gradients(fused, length, torch.float32), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [100, 300])
def test_in_16_bits_blocks_are_about_as_near_to_fp32_as_the_fused_kernel(length: int) -> None:
    assert attention.keeps_weights("cpu", torch.bfloat16, length)
    exact = outputs_and_gradients(fused, length, torch.float32)
    ours = outputs_and_gradients(attention.causal_attention, length, torch.bfloat16)
    theirs = outputs_and_gradients(fused, length, torch.bfloat16)
    for one, other, reference in zip(ours, theirs, exact, strict=True):
        assert not torch.equal(one, other), "the blocks were not used"
        assert (one - reference).norm() <= 2.5 * (other - reference).norm()


def test_a_model_trains_in_16_bits_on_the_gradient_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=4, n_embd=64, block_size=160, vocab_size=500))
    tokens, targets = torch.randint(0, 500, (2, 2, 160))

    def gradient(autocast: bool) -> torch.Tensor:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            model(tokens, targets).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    exact, ours = gradient(False), gradient(True)
    monkeypatch.setattr(attention, "keeps_weights", lambda *_: False)
    theirs = gradient(True)
    assert (ours - exact).norm() <= 1.1 * (theirs - exact).norm()
    assert (ours - exact).norm() <= 0.02 * exact.norm()


def test_without_gradients_or_with_dropout_it_is_the_fused_kernel() -> None:
    q, k, v = torch.randn(3, 1, 2, 40, 16).bfloat16()
    with torch.no_grad():
        assert torch.equal(attention.causal_attention(q, k, v), fused(q, k, v))
    assert not attention.keeps_weights("cpu", torch.bfloat16, 40, 0.1)
    assert not attention.keeps_weights("cpu", torch.bfloat16, attention.LONGEST + 1)
    assert not attention.keeps_weights("cuda", torch.bfloat16, 40)
