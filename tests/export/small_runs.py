"""Run folders of every kind of model, with weights that all show in the logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

SMALL = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=48)
LLAMA = replace(SMALL, norm="rmsnorm", activation="swiglu", positions="rope", bias=False, n_embd=64, n_head=4)
QWEN3 = replace(LLAMA, qk_norm=True, head_size=24, n_kv_head=2, rope_theta=1e6, norm_eps=1e-6, n_ff=96)
VARIANTS = {
    "gpt2": SMALL,
    "no_bias": replace(SMALL, bias=False),
    "untied": replace(SMALL, tie_weights=False),
    "sinusoidal": replace(SMALL, positions="sinusoidal"),
    "sinusoidal_bare": replace(SMALL, positions="sinusoidal", bias=False, tie_weights=False),
    "llama": replace(LLAMA, n_kv_head=2, tie_weights=False),
    "llama_biased": replace(LLAMA, bias=True, n_kv_head=1),
    "qwen3": QWEN3,
    "qwen3_mup": replace(QWEN3, parametrization="mup", mup_base_width=32),
}


def write_run(folder: Path, config: GPTConfig, tokenizer: Tokenizer, step: int = 7) -> GPT:
    """Write a run folder with random weights, norms and biases too; return its model."""
    model = GPT(replace(config, vocab_size=tokenizer.vocab_size)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(float("norm" in name and name.endswith("weight")), 0.2, generator=generator)
    folder.mkdir(parents=True)
    train = TrainConfig(model=model.config, tokens_per_step=8 * config.block_size, data=str(folder / "no_data"))
    write_yaml(train, folder / "config.yaml")
    tokenizer.save(folder / "tokenizer.json")
    state = {"tokenizer": tokenizer.fingerprint}
    saved = Checkpoint(step, model_tensors(model), {}, state)
    save_checkpoint(folder, saved, keep_last=1)
    return model
