"""Our model computes what independent implementations compute: logits, activations and gradients.

References: a small trained GPT with every activation of one batch (minGPT's weights, from llm-viz),
the tiny random GPT-2 of Hugging Face with logits that onnxruntime computed, and transformers on
random weights.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt_research.checkpoint.weights import model_tensors, restore_model
from gpt_research.export.families.gpt2 import NAMES, from_gpt2, to_gpt2
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

MODELS = Path(__file__).parents[2].parent / "shared" / "models"
SORTER = MODELS / "gpt_nano_sort"
TINY = MODELS / "tiny_random_gpt2" / "tiny_random_gpt2_fixture.npz"
needs_sorter = pytest.mark.skipif(not SORTER.is_dir(), reason=f"{SORTER} is not there")
needs_tiny = pytest.mark.skipif(not TINY.is_file(), reason=f"{TINY} is not there")


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the config and the base64 fp32 tensors of one of llm-viz's files."""
    content = json.loads(path.read_text())
    config = content.pop("config")
    tensors = {
        name: torch.frombuffer(bytearray(base64.b64decode(entry["data"])), dtype=torch.float32).view(entry["shape"])
        for name, entry in content.items()
    }
    return config, tensors


def read_sorter() -> GPT:
    config, tensors = read_tensors(SORTER / "gpt-nano-sort-model.json")
    shape = {name: config[name] for name in ("n_layer", "n_head", "n_embd", "vocab_size", "block_size")}
    model = GPT(GPTConfig(**shape, tie_weights=False)).eval()
    restore_model(model, from_gpt2(tensors), str(SORTER))
    return model


def sorter_activations(model: GPT, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run the model and return its activations by the reference's names; those inside are of block
    0."""
    seen: dict[str, torch.Tensor] = {}
    first = model.blocks[0]
    outputs = {
        "tok_emb": model.token_embedding,
        "pos_emb": model.position_embedding,
        "ln1": first.norm_1,
        "qkv": first.attention.qkv,
        "yProj": first.attention.proj,
        "ln2": first.norm_2,
        "fc": first.mlp.up,
        "mlp": first.mlp.down,
        "ln_f": model.norm,
        **{f"block{i}": block for i, block in enumerate(model.blocks)},
    }
    inputs = {"x": first, "y": first.attention.proj, "attnResid": first.norm_2, "gelu": first.mlp.down}
    for name, module in outputs.items():
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    for name, module in inputs.items():
        module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    with torch.no_grad():
        seen["lm_head"] = model(tokens)
    seen["mlpResid"] = seen["block0"]
    seen["probs"] = seen["lm_head"].softmax(-1)
    heads, size = model.config.n_head, model.config.head_dim
    for name, part in zip("qkv", seen["qkv"].chunk(3, dim=-1), strict=True):
        seen[name] = part.unflatten(-1, (heads, size)).transpose(1, 2)
    # The fused kernel shows no scores, so these two follow from the q and k just checked.
    scores = seen["q"] @ seen["k"].transpose(-2, -1) / size**0.5
    seen["att"] = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
    seen["attSm"] = seen["att"].softmax(-1)
    return seen


@needs_sorter
def test_every_activation_of_the_trained_sorter_is_reproduced() -> None:
    _, expected = read_tensors(SORTER / "gpt-nano-sort-t0-partials.json")
    seen = sorter_activations(read_sorter(), expected.pop("idx").long())
    assert expected.keys() <= seen.keys()
    for name, reference in expected.items():
        ours = seen[name].expand_as(reference) if name != "pos_emb" else seen[name].view_as(reference)
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@needs_sorter
def test_the_trained_sorter_sorts() -> None:
    model = read_sorter()
    for letters in ([2, 0, 1, 1, 0, 2], [0, 0, 2, 1, 0, 1], [2, 2, 2, 1, 1, 0]):
        tokens = torch.tensor([letters])
        for _ in range(len(letters)):
            with torch.no_grad():
                tokens = torch.cat((tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)), dim=1)
        assert tokens[0, len(letters) :].tolist() == sorted(letters)


def read_tiny() -> tuple[GPT, dict[str, np.ndarray]]:
    """Return the tiny random GPT-2 and its reference values; weights not in the file are ones and
    zeros."""
    arrays = dict(np.load(TINY))
    weights = {k: torch.from_numpy(arrays.pop(k)) for k in list(arrays) if k.startswith("transformer.")}
    config = GPTConfig(n_layer=5, n_head=4, n_embd=32, vocab_size=1000, block_size=512)
    model = GPT(config).eval()
    tensors = {
        name: torch.ones_like(tensor) if name.endswith("weight") else torch.zeros_like(tensor)
        for name, tensor in model_tensors(model).items()
        if re.search(r"norm|bias", name)
    }
    restore_model(model, tensors | from_gpt2(weights), str(TINY))
    return model, arrays


@needs_tiny
def test_logits_of_the_tiny_random_gpt2_equal_onnxruntimes() -> None:
    model, reference = read_tiny()
    for case in ("a", "b"):
        with torch.no_grad():
            logits = model(torch.from_numpy(reference[f"in_{case}"]))
        torch.testing.assert_close(logits, torch.from_numpy(reference[f"logits_{case}"]), atol=1e-5, rtol=0)


@needs_tiny
def test_greedy_continuations_of_the_tiny_random_gpt2_are_the_published_ones() -> None:
    model, _ = read_tiny()
    tokens = torch.tensor([[0, 0, 0, 52], [0, 0, 195, 731]])
    for _ in range(6):
        with torch.no_grad():
            tokens = torch.cat((tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)), dim=1)
    assert tokens[:, 4:].tolist() == [[204] * 6, [731, 114, 114, 114, 114, 114]]


SIZES = {
    "one_layer": GPTConfig(n_layer=1, n_head=1, n_embd=16, block_size=16, vocab_size=65),
    "odd_heads": GPTConfig(n_layer=3, n_head=3, n_embd=48, block_size=32, vocab_size=257),
    "untied": GPTConfig(n_layer=2, n_head=4, n_embd=64, block_size=24, vocab_size=100, tie_weights=False),
    "wide": GPTConfig(n_layer=2, n_head=12, n_embd=768, block_size=64, vocab_size=1000),
}


def randomise(model: GPT) -> None:
    """Draw every parameter, norms and biases too, large enough for each to show in the logits."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            p.normal_(mean=one, std=0.3 / max(1, p.size(-1) / 64) ** 0.5)


@pytest.mark.parametrize("name", SIZES)
def test_logits_and_every_gradient_equal_transformers(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = SIZES[name]
    torch.manual_seed(0)
    ours = GPT(config)
    randomise(ours)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.block_size,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            tie_word_embeddings=config.tie_weights,
        )
    )
    missing, unexpected = theirs.load_state_dict(to_gpt2(model_tensors(ours)), strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if config.tie_weights else set())

    tokens = torch.randint(config.vocab_size, (3, config.block_size))
    targets = torch.randint(config.vocab_size, (3, config.block_size))
    expected = theirs(tokens).logits
    logits = ours(tokens)
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits, expected, atol=1e-5 * max(1.0, scale), rtol=0)

    F.cross_entropy(expected.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    ours(tokens, targets).backward()
    gradients = {n: p.grad[: config.vocab_size] for n, p in ours.named_parameters() if "token_emb" in n}
    gradients |= {n: p.grad for n, p in ours.named_parameters() if "token_emb" not in n}
    if not config.tie_weights:
        gradients["head.weight"] = gradients["head.weight"][: config.vocab_size]
    reference = {n: p.grad for n, p in theirs.named_parameters()}
    assert {NAMES.theirs(n)[0] for n in gradients} == reference.keys()
    for n, gradient in to_gpt2(gradients).items():
        scale = reference[n].abs().max().item()
        assert scale > 0, n
        torch.testing.assert_close(gradient, reference[n], atol=1e-5 * scale, rtol=0, msg=lambda m, n=n: f"{n}: {m}")
