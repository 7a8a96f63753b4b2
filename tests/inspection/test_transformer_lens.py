"""What is shown of a model is what TransformerLens shows of its export."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.hf import write
from gpt_research.inspection.attention import attention_weights
from gpt_research.inspection.lens import logit_lens
from gpt_research.inspection.predictions import predict
from gpt_research.inspection.switching import switch_off
from gpt_research.inspection.watching import Off
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

pytestmark = [
    pytest.mark.slow,  # TransformerLens takes seconds to import
    pytest.mark.skipif(not importlib.util.find_spec("transformer_lens"), reason="transformer-lens is not installed"),
]
CLOSE = {"atol": 1e-4, "rtol": 0}
TOKENS = np.random.default_rng(3).integers(257, size=40)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT, Any]:
    """A model of GPT-2's shape with weights that all matter, here and in TransformerLens."""
    folder = tmp_path_factory.mktemp("lens")
    tokenizer = Tokenizer.train(["the king and the queen and the fool went to the sea " * 9], 300)
    config = GPTConfig(n_layer=3, n_head=4, n_embd=64, block_size=48, vocab_size=tokenizer.vocab_size)
    model = GPT(config, seed=5)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    run, export = folder / "run", folder / "hf"
    run.mkdir()
    export.mkdir()
    write_yaml(TrainConfig(model=config, tokens_per_step=8 * 48), run / "config.yaml")
    tokenizer.save(run / "tokenizer.json")
    save_checkpoint(run, Checkpoint(1, model_tensors(model), {}, {"tokenizer": tokenizer.fingerprint}), keep_last=1)
    opened = Run.open(run)
    write(export, opened, "f32")
    return opened.model, in_transformer_lens(export)


def in_transformer_lens(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(str(folder), dtype=torch.float32, device="cpu")


def theirs(bridge: Any, hooks: list[tuple[str, Any]] | None = None) -> torch.Tensor:
    """Return TransformerLens's log-probabilities, (T, V)."""
    with torch.no_grad():
        logits = bridge.run_with_hooks(torch.from_numpy(TOKENS)[None], fwd_hooks=hooks or [])
    return logits[0].double().log_softmax(-1)


def surprise(log_p: torch.Tensor) -> np.ndarray:
    return -log_p[:-1].gather(1, torch.from_numpy(TOKENS[1:, None]))[:, 0].numpy()


def test_attention_and_predictions(both: tuple[GPT, Any]) -> None:
    model, bridge = both
    with torch.no_grad():
        _, cache = bridge.run_with_cache(torch.from_numpy(TOKENS)[None])
    patterns = torch.stack([cache[f"blocks.{block}.attn.hook_pattern"][0] for block in range(3)])
    np.testing.assert_allclose(attention_weights(model, TOKENS), patterns.numpy(), **CLOSE)
    log_p, seen = theirs(bridge), predict(model, TOKENS)
    np.testing.assert_allclose(seen.surprise[1:], surprise(log_p), **CLOSE)
    np.testing.assert_allclose(seen.entropy, -(log_p.exp() * log_p).sum(1).numpy(), **CLOSE)


def test_the_logit_lens(both: tuple[GPT, Any]) -> None:
    model, bridge = both
    with torch.no_grad():
        _, cache = bridge.run_with_cache(torch.from_numpy(TOKENS)[None])
        streams = [cache["blocks.0.hook_resid_pre"], *(cache[f"blocks.{b}.hook_resid_post"] for b in range(3))]
        expected = [bridge.unembed(bridge.ln_final(stream))[0].double().log_softmax(-1) for stream in streams]
    for ours, log_p in zip(logit_lens(model, TOKENS), expected, strict=True):
        np.testing.assert_allclose(ours.surprise[:-1], surprise(log_p), **CLOSE)
        kl = (expected[-1].exp() * (expected[-1] - log_p)).sum(1)
        np.testing.assert_allclose(ours.kl, kl.numpy(), **CLOSE)


def zero(value: torch.Tensor, hook: object) -> torch.Tensor:
    return torch.zeros_like(value)


def zero_head_2(value: torch.Tensor, hook: object) -> torch.Tensor:
    by_head = value.reshape(*value.shape[:2], 4, -1).clone()
    by_head[:, :, 2] = 0
    return by_head.reshape(value.shape)


@pytest.mark.parametrize(
    ("off", "hooks"),
    [
        (Off(heads=[(1, 2)]), [("blocks.1.attn.hook_z", zero_head_2)]),
        (Off(attention=[0], mlps=[2]), [("blocks.0.attn.hook_out", zero), ("blocks.2.mlp.hook_out", zero)]),
    ],
    ids=["head", "attention and mlp"],
)
def test_switching_off(both: tuple[GPT, Any], off: Off, hooks: list[tuple[str, Any]]) -> None:
    model, bridge = both
    whole, without = theirs(bridge), theirs(bridge, hooks)
    found = switch_off(model, TOKENS, off)
    np.testing.assert_allclose(found.before.surprise[:-1], surprise(whole), **CLOSE)
    np.testing.assert_allclose(found.after.surprise[:-1], surprise(without), **CLOSE)
    kl = (whole.exp() * (whole - without)).sum(1).numpy()
    assert kl.max() > 0.01
    np.testing.assert_allclose(found.after.kl, kl, **CLOSE)
