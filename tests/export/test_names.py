"""Names and layouts translate both ways, whatever the size and wherever the weights come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.export.families.gpt2 import NAMES, Layout, from_gpt2, to_gpt2
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

SMALL = GPTConfig(n_layer=12, n_head=2, n_embd=8, block_size=4, vocab_size=9)
VARIANTS = [SMALL, replace(SMALL, bias=False), replace(SMALL, tie_weights=False)]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("layout", ["conv1d", "linear"])
@pytest.mark.parametrize("config", VARIANTS)
def test_there_and_back_gives_the_same_tensors(config: GPTConfig, layout: Layout) -> None:
    tensors = model_tensors(GPT(config))
    theirs = to_gpt2(tensors, layout)
    assert equal(from_gpt2(theirs), tensors)
    for name in tensors:
        assert NAMES.ours(NAMES.theirs(name)[0]) == (name, 0)


def test_names_and_shapes_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=12, n_head=2, n_embd=8, n_positions=4, vocab_size=9)
    )
    expected = {name: p.shape for name, p in theirs.named_parameters()}
    assert {name: t.shape for name, t in to_gpt2(model_tensors(GPT(SMALL))).items()} == expected


def test_the_released_gpt2_nanogpt_and_compiled_models_are_recognised() -> None:
    tensors = model_tensors(GPT(SMALL))
    conv1d, linear = to_gpt2(tensors), to_gpt2(tensors, "linear")
    released = {name.removeprefix("transformer."): t for name, t in conv1d.items()}
    released["h.0.attn.bias"] = torch.ones(1, 1, 4, 4).tril()  # the mask, stored as a buffer
    assert equal(from_gpt2(released), tensors)
    compiled = {f"_orig_mod.{name}": t for name, t in linear.items()}
    compiled["_orig_mod.lm_head.weight"] = linear["transformer.wte.weight"]  # tied, so it is stored twice
    assert equal(from_gpt2(compiled), tensors)


def test_a_tensor_of_another_architecture_is_refused_by_name() -> None:
    tensors = to_gpt2(model_tensors(GPT(SMALL)))
    for name in (
        "transformer.h.0.attn.rotary.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "transformer.wte",
    ):
        with pytest.raises(UserError, match=f'here is not a GPT-2: it has the tensor "[^"]*{name}'):
            from_gpt2(tensors | {name: torch.zeros(1)}, "here")
