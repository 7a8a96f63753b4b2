"""Each variant computes what an independent implementation computes, forward and backward.

transformers has the whole models; where it has none, the paper's formula stands here in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from gpt_research.model.gpt import GPT
from gpt_research.model.parts.positions import AlibiPositions, alibi_slopes
from gpt_research.model_config import GPTConfig

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 64, "block_size": 32, "vocab_size": 128}
LLAMA = GPTConfig(
    **SIZES, n_kv_head=2, n_ff=96, bias=False, norm="rmsnorm", activation="swiglu", positions="rope", tie_weights=False
)
THEIRS = {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 128, "max_position_embeddings": 32}


def llama(config: GPTConfig, qwen: bool = False) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return transformers' Llama or Qwen3 of random weights, and the same weights by our names."""
    kind = (transformers.Qwen3Config, transformers.Qwen3ForCausalLM) if qwen else None
    configuration, model_class = kind or (transformers.LlamaConfig, transformers.LlamaForCausalLM)
    theirs = model_class(
        configuration(
            **THEIRS,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            intermediate_size=config.n_ff,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tie_weights,
        )
    )
    shake(theirs)
    found = {name: parameter.detach() for name, parameter in theirs.named_parameters()}
    ours = {"token_embedding.weight": found["model.embed_tokens.weight"], "norm.weight": found["model.norm.weight"]}
    if not config.tie_weights:
        ours["head.weight"] = found["lm_head.weight"]
    for layer in range(config.n_layer):
        block, there = f"blocks.{layer}", f"model.layers.{layer}"
        ours[f"{block}.norm_1.weight"] = found[f"{there}.input_layernorm.weight"]
        ours[f"{block}.norm_2.weight"] = found[f"{there}.post_attention_layernorm.weight"]
        heads = [found[f"{there}.self_attn.{name}_proj.weight"] for name in "qkv"]
        ours[f"{block}.attention.qkv.weight"] = torch.cat(heads)
        ours[f"{block}.attention.proj.weight"] = found[f"{there}.self_attn.o_proj.weight"]
        for name in ("gate", "up", "down"):
            ours[f"{block}.mlp.{name}.weight"] = found[f"{there}.mlp.{name}_proj.weight"]
        if qwen:
            for name in ("q_norm", "k_norm"):
                ours[f"{block}.attention.{name}.weight"] = found[f"{there}.self_attn.{name}.weight"]
    return theirs, ours


def neox(config: GPTConfig) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return GPT-NeoX without its parallel branches: rotary, LayerNorm, exact GELU, biases."""
    theirs = transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            **THEIRS,
            num_attention_heads=4,
            intermediate_size=256,
            use_parallel_residual=False,
            hidden_act="gelu",
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
            layer_norm_eps=config.norm_eps,
        )
    )
    shake(theirs)
    names = {"lm_head": "head", "gpt_neox.embed_in": "token_embedding", "gpt_neox.final_layer_norm": "norm"}
    parts = {"input_layernorm": "norm_1", "post_attention_layernorm": "norm_2", "attention.query_key_value": None}
    parts |= {"attention.dense": "attention.proj", "mlp.dense_h_to_4h": "mlp.up", "mlp.dense_4h_to_h": "mlp.down"}
    ours = {}
    for name, parameter in theirs.named_parameters():
        part, leaf = name.rsplit(".", 1)
        if part in names:
            ours[f"{names[part]}.{leaf}"] = parameter.detach()
            continue
        _, _, layer, rest = part.split(".", 3)
        if rest == "attention.query_key_value":  # each head has its query, key and value in turn
            value = parameter.detach().view(4, 3, 16, -1).transpose(0, 1).reshape(parameter.shape)
            ours[f"blocks.{layer}.attention.qkv.{leaf}"] = value
        else:
            ours[f"blocks.{layer}.{parts[rest]}.{leaf}"] = parameter.detach()
    return theirs, ours


def mpt(config: GPTConfig) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return MPT: ALiBi, LayerNorm without biases, exact GELU, a tied head."""
    theirs = transformers.MptForCausalLM(
        transformers.MptConfig(
            d_model=64, n_heads=4, n_layers=2, expansion_ratio=4, max_seq_len=32, vocab_size=128, no_bias=True
        )
    )
    shake(theirs)
    names = {"transformer.wte": "token_embedding", "transformer.norm_f": "norm"}
    parts = {"norm_1": "norm_1", "norm_2": "norm_2", "attn.Wqkv": "attention.qkv", "attn.out_proj": "attention.proj"}
    parts |= {"ffn.up_proj": "mlp.up", "ffn.down_proj": "mlp.down"}
    ours = {}
    for name, parameter in theirs.named_parameters():
        part, leaf = name.rsplit(".", 1)
        if part not in names:
            _, _, layer, rest = part.split(".", 3)
            ours[f"blocks.{layer}.{parts[rest]}.{leaf}"] = parameter.detach()
        else:
            ours[f"{names[part]}.{leaf}"] = parameter.detach()
    return theirs, ours


def shake(model: torch.nn.Module) -> None:
    """Make all weights random and large enough for attention to matter."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.empty(parameter.shape).normal_(generator=generator)
            parameter.copy_(1 + 0.2 * drawn if parameter.dim() == 1 else 0.15 * drawn)


QWEN = replace(LLAMA, qk_norm=True, head_size=24, rope_theta=1e6, norm_eps=1e-6, tie_weights=True)
NEOX = GPTConfig(**SIZES, activation="gelu", positions="rope", tie_weights=False)
MPT = GPTConfig(**SIZES, activation="gelu", positions="alibi", bias=False)


@pytest.mark.parametrize(
    ("config", "reference"),
    [(LLAMA, llama), (QWEN, lambda config: llama(config, qwen=True)), (NEOX, neox), (MPT, mpt)],
    ids=["llama", "qwen3", "neox", "mpt"],
)
def test_logits_and_gradients_equal_those_of_transformers(config: GPTConfig, reference: Callable[..., Any]) -> None:
    theirs, weights = reference(config)
    theirs.eval()
    model = GPT(config, 0)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert missing == (["head.weight"] if config.tie_weights else [])
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(128, (2, 33), generator=generator)
    expected = theirs(tokens[:, :-1]).logits
    found = model(tokens[:, :-1])
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    loss = torch.nn.functional.cross_entropy(expected.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")
    loss.backward()
    model(tokens[:, :-1], tokens[:, 1:]).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in renamed_gradients(theirs, reference, config).items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def renamed_gradients(theirs: Any, reference: Callable[..., Any], config: GPTConfig) -> dict[str, torch.Tensor]:
    """Return the tensors of `theirs` by our names, with the mapping of `reference`."""
    with pytest.MonkeyPatch.context() as patch:
        # The reference builds a new model and shakes it. Here gradients come in place of weights.
        held = [parameter.grad for parameter in theirs.parameters()]

        def adopt(model: torch.nn.Module) -> None:
            for parameter, value in zip(model.parameters(), held, strict=True):
                parameter.data = value

        patch.setattr(f"{__name__}.shake", adopt)
        return reference(config)[1]


def logits_in_numpy(model: GPT, tokens: np.ndarray) -> np.ndarray:
    """Return logits (T, V) of tokens (T,), written anew in float64 from the papers' formulas."""
    config = model.config
    w = {name: parameter.detach().double().numpy() for name, parameter in model.named_parameters()}
    w.setdefault("head.weight", w["token_embedding.weight"])
    T, D, H, K = len(tokens), config.head_dim, config.n_head, config.kv_heads

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        if config.norm == "layernorm":
            x = x - x.mean(-1, keepdims=True)
        y = w[f"{name}.weight"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps)
        return y + w.get(f"{name}.bias", 0.0)

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def activation(x: np.ndarray) -> np.ndarray:
        if config.activation == "relu2":
            return np.maximum(x, 0) ** 2
        if config.activation == "swiglu":
            return x / (1 + np.exp(-x))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = w["token_embedding.weight"][tokens]
    if config.positions == "learned":
        x = x + w["position_embedding.weight"][:T]
    for layer in range(config.n_layer):
        block = f"blocks.{layer}"
        q, k, v = np.split(linear(norm(x, f"{block}.norm_1"), f"{block}.attention.qkv"), [H * D, (H + K) * D], axis=-1)
        if f"value_embeddings.{layer}.weight" in w:
            v = v + w[f"value_embeddings.{layer}.weight"][tokens]
        heads = []
        for head in range(H):
            pair = head * K // H
            a, b, c = q[:, head * D : (head + 1) * D], k[:, pair * D : (pair + 1) * D], v[:, pair * D : (pair + 1) * D]
            scale = 8 / D if config.parametrization == "mup" else 1 / math.sqrt(D)
            scores = a @ b.T * scale
            if config.positions == "alibi":
                scores -= alibi_slopes(H)[head] * (np.arange(T)[:, None] - np.arange(T)[None])
            scores = np.where(np.tri(T) > 0, scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ c)
        x = x + linear(np.concatenate(heads, -1), f"{block}.attention.proj")
        h = norm(x, f"{block}.norm_2")
        inner = activation(linear(h, f"{block}.mlp.up"))
        if f"{block}.mlp.gate.weight" in w:
            inner = activation(linear(h, f"{block}.mlp.gate")) * linear(h, f"{block}.mlp.up")
        x = x + linear(inner, f"{block}.mlp.down")
    logits = norm(x, "norm") @ w["head.weight"][: config.vocab_size].T
    if config.parametrization == "mup":
        logits = logits / (config.n_embd / config.mup_base_width)
    cap = config.logit_softcap
    return cap * np.tanh(logits / cap) if cap else logits


CHANGES: list[dict[str, Any]] = [
    {"positions": "none"},
    {"positions": "alibi", "n_head": 6, "head_size": 10},
    {"norm": "rmsnorm", "activation": "relu2"},
    {"activation": "geglu", "n_ff": 80},
    {"activation": "swiglu", "n_kv_head": 1, "bias": False},
    {"logit_softcap": 2.0},
    {"value_embeddings": True, "n_kv_head": 2, "tie_weights": False},
    {"parametrization": "mup", "mup_base_width": 32},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_logits_and_gradients_equal_the_formula_in_numpy(change: dict[str, Any]) -> None:
    config = replace(GPTConfig(**SIZES), **change)
    model = GPT(config, 1)
    shake(model)
    tokens = torch.randint(128, (2, 17), generator=torch.Generator().manual_seed(2))
    expected = np.stack([logits_in_numpy(model, row) for row in tokens[:, :-1].numpy()])
    np.testing.assert_allclose(model(tokens[:, :-1]).detach().numpy(), expected, atol=2e-4, rtol=1e-4)

    def nats() -> float:
        scores = np.stack([logits_in_numpy(model, row) for row in tokens[:, :-1].numpy()])
        top = scores.max(-1, keepdims=True)
        logs = np.log(np.exp(scores - top).sum(-1)) + top[..., 0]
        return float((logs - np.take_along_axis(scores, tokens[:, 1:, None].numpy(), -1)[..., 0]).sum())

    # Along a random direction the loss of the formula rises as our gradient says, in both losses.
    generator = torch.Generator().manual_seed(7)
    directions = [torch.empty(p.shape).normal_(generator=generator) for p in model.parameters()]
    for chunk in (0, 16):
        model.loss_chunk = chunk
        model.zero_grad()
        model(tokens[:, :-1], tokens[:, 1:]).backward()
        slope = sum(float((p.grad * d).sum()) for p, d in zip(model.parameters(), directions, strict=True))  # type: ignore[operator]
        losses, step = [], 1e-4
        with torch.no_grad():
            for sign in (1, -2):
                for p, d in zip(model.parameters(), directions, strict=True):
                    p.add_(d, alpha=sign * step)
                losses.append(nats())
            for p, d in zip(model.parameters(), directions, strict=True):
                p.add_(d, alpha=step)
        assert slope == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=2e-3)


@pytest.mark.parametrize("heads", [1, 2, 4, 6, 12, 25])
def test_slopes_are_those_of_bloom(heads: int) -> None:
    # Bloom adds slope x key position, which differs by a constant in each row of the scores.
    theirs = build_alibi_tensor(torch.ones(1, 9), heads, torch.float32).view(heads, 9)
    config = GPTConfig(n_layer=1, n_head=heads, n_embd=4 * heads, block_size=9, vocab_size=10, positions="alibi")
    ours = AlibiPositions(config).bias(torch.arange(9), 9)[0]
    torch.testing.assert_close(ours[:, 8] - ours[:, 8, :1], theirs, atol=1e-5, rtol=1e-5)
