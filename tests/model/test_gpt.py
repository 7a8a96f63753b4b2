"""Properties of the model that hold without a reference: causality, initialisation, padding,
counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from model_shapes import SHAPES, SMALL

from gpt_research.checkpoint.weights import model_tensors
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import sinusoidal_positions
from gpt_research.model_config import GPTConfig


def make(config: GPTConfig, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def draw(config: GPTConfig, batch: int = 2, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, config.block_size), generator=generator)


@pytest.mark.parametrize("name", SHAPES)
def test_changing_a_later_token_changes_no_earlier_logit(name: str) -> None:
    config = SHAPES[name]
    model, tokens = make(config).eval(), draw(config)
    with torch.no_grad():
        before = model(tokens)
        for place in range(config.block_size):
            changed = tokens.clone()
            changed[:, place] = (changed[:, place] + 1) % config.vocab_size
            after = model(changed)
            assert torch.equal(after[:, :place], before[:, :place])
            assert (after[:, place:] != before[:, place:]).any(-1).all(), "a later position does not see the token"


def test_initial_weights_have_gpt2s_spread() -> None:
    config = GPTConfig(n_layer=3, n_head=4, n_embd=128, block_size=128, vocab_size=512, tie_weights=False)
    for name, p in make(config).named_parameters():
        if name.endswith("bias"):
            assert not p.any(), name
        elif "norm" in name:
            assert (p == 1).all(), name
        else:
            residual = name.endswith(("attention.proj.weight", "mlp.down.weight"))
            expected = 0.02 / math.sqrt(2 * config.n_layer) if residual else 0.02
            # Four standard errors of a mean and of a standard deviation over this many draws.
            assert abs(p.mean().item()) < 4 * expected / p.numel() ** 0.5, name
            assert abs(p.std().item() / expected - 1) < 4 / (2 * p.numel()) ** 0.5, name


def test_loss_of_a_fresh_model_is_that_of_a_uniform_guess() -> None:
    tokens = draw(SMALL, batch=8)
    loss = make(SMALL)(tokens, draw(SMALL, batch=8, seed=2)) / tokens.numel()
    assert abs(loss.item() - math.log(SMALL.vocab_size)) < 0.05


def test_tied_head_is_the_token_embedding_and_an_untied_one_is_not() -> None:
    tied, untied = make(SMALL), make(SHAPES["untied"])
    assert tied.head.weight is tied.token_embedding.weight
    assert not torch.equal(untied.head.weight, untied.token_embedding.weight)
    extra = SMALL.vocab_size * SMALL.n_embd
    assert untied.num_parameters() == tied.num_parameters() + extra


@pytest.mark.parametrize("name", SHAPES)
def test_padding_of_the_vocabulary_is_never_seen(name: str) -> None:
    config = SHAPES[name]
    assert config.padded_vocab_size == 128
    model, tokens, targets = make(config), draw(config), draw(config, seed=2)
    with torch.no_grad():
        before = model(tokens, targets)
        for table in {model.token_embedding.weight, model.head.weight}:
            table[config.vocab_size :] = 1e4
        assert model(tokens).shape[-1] == config.vocab_size
        assert torch.equal(model(tokens, targets), before)
    model(tokens, targets).backward()
    for table in {model.token_embedding.weight, model.head.weight}:
        assert table.grad is not None
        assert not table.grad[config.vocab_size :].any()
        assert table.grad[: config.vocab_size].any()
    assert all(t.size(0) == config.vocab_size for n, t in model_tensors(model).items() if n.startswith(("tok", "hea")))


def test_sinusoidal_positions_follow_the_formula() -> None:
    length, width = 50, 24
    table = sinusoidal_positions(length, width)
    expected = torch.empty(length, width)
    for t in range(length):
        for i in range(width // 2):
            angle = t / 10000 ** (2 * i / width)
            expected[t, 2 * i], expected[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    torch.testing.assert_close(table, expected, atol=1e-6, rtol=0)
    model = make(replace(SMALL, positions="sinusoidal"))
    assert not any("position" in name for name, _ in model.named_parameters())
    assert not any("position" in name for name in model.state_dict())
    tokens = draw(SMALL)
    seen = {}
    model.blocks[0].register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    model(tokens)
    embedded = model.token_embedding(tokens) * math.sqrt(SMALL.n_embd)
    torch.testing.assert_close(seen["x"], embedded + sinusoidal_positions(SMALL.block_size, SMALL.n_embd))


def test_dropout_acts_in_training_only() -> None:
    model, plain = make(replace(SMALL, dropout=0.5)), make(SMALL)
    tokens = draw(SMALL)
    with torch.no_grad():
        model.train()
        assert not torch.equal(model(tokens), model(tokens))
        model.eval()
        assert torch.equal(model(tokens), model(tokens))
        assert torch.equal(model(tokens), plain.eval()(tokens))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(dropout: float) -> None:
    config = replace(SMALL, dropout=dropout)
    results = []
    for checkpointing in (False, True):
        model = make(config).train()
        model.gradient_checkpointing = checkpointing
        ran = []
        # An early part: recomputation ends as soon as the last tensor needed is there.
        model.blocks[0].norm_1.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        torch.manual_seed(5)
        loss = model(draw(config), draw(config, seed=2))
        loss.backward()
        assert len(ran) == (2 if checkpointing else 1), "checkpointing runs a block again in the backward pass"
        results.append((loss, [p.grad for p in model.parameters()]))
    (loss, gradients), (loss_again, gradients_again) = results
    assert torch.equal(loss, loss_again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_again, strict=True))


def test_a_rounded_stream_is_16_bits_wide_in_training_alone() -> None:
    model, tokens = make(SMALL), draw(SMALL)
    model.residual_dtype = torch.bfloat16
    seen: list[torch.dtype] = []
    for part in (*model.blocks, model.norm):
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nats = model.train()(tokens, tokens)
        nats.backward()
        assert seen == [torch.bfloat16] * 3
        seen.clear()
        plain = make(SMALL)(tokens, tokens)
        assert nats != plain
        torch.testing.assert_close(nats, plain, rtol=1e-3, atol=0)
        model.eval()(tokens, tokens)
    assert seen == [torch.float32] * 3  # one model has one validation loss
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    full = model.activation_bytes("cuda", torch.bfloat16)
    model.residual_dtype = None
    assert model.activation_bytes("cuda", torch.bfloat16) - full == (2 * SMALL.n_layer + 2) * 2 * SMALL.n_embd


def test_without_biases_there_are_none() -> None:
    model = make(SHAPES["no_bias"])
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())
    a_block, last_norm = (2 + 3 + 1 + 4 + 1) * SMALL.n_embd, SMALL.n_embd
    removed = SMALL.n_layer * a_block + last_norm
    assert make(SMALL).num_parameters() - model.num_parameters() == removed


def test_loss_is_the_summed_cross_entropy_of_the_logits() -> None:
    model, tokens, targets = make(SMALL), draw(SMALL), draw(SMALL, seed=2)
    targets[0, :5] = -1  # not counted
    log_p = F.log_softmax(model(tokens).double(), dim=-1)
    expected = -sum(log_p[b, t, targets[b, t]] for b in range(2) for t in range(16) if targets[b, t] >= 0)
    torch.testing.assert_close(model(tokens, targets).double(), expected, atol=0, rtol=1e-6)


def test_gpt2_has_its_published_number_of_parameters() -> None:
    published = {(12, 12, 768): 124_439_808, (24, 16, 1024): 354_823_168}
    published |= {(36, 20, 1280): 774_030_080, (48, 25, 1600): 1_557_611_200}
    for (n_layer, n_head, n_embd), count in published.items():
        with torch.device("meta"):
            model = GPT(GPTConfig(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=1024))
        assert model.num_parameters() == count
        assert model.num_parameters(embedding=False) == count - (50257 + 1024) * n_embd


@pytest.mark.parametrize("name", SHAPES)
def test_flops_are_those_that_the_matrix_products_take(name: str) -> None:
    """Six FLOPs a multiplied weight, and 12 T a layer and channel for attention, counted by torch
    itself."""
    from torch.utils.flop_counter import FlopCounterMode

    # Attention as plain products, which the counter sees, and a vocabulary without padding.
    config = replace(SHAPES[name], vocab_size=128)
    model = make(config)
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(draw(config), draw(config, seed=2)).backward()
    counted = counter.get_total_flops() / draw(config).numel()
    # 6 N also counts the few weights of norms and biases, which add and scale but are no product.
    vectors = 6 * sum(p.numel() for p in model.parameters() if p.dim() < 2)
    assert model.flops_per_token() - vectors == pytest.approx(counted, rel=0.01)
