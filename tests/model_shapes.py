"""Small models of every kind that a setting can choose, for tests that must hold for all."""

from __future__ import annotations

from dataclasses import replace

from gpt_research.model_config import GPTConfig

SMALL = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=16, vocab_size=70)
LLAMA = replace(SMALL, norm="rmsnorm", activation="swiglu", positions="rope", bias=False, n_head=4, n_kv_head=2)
SHAPES = {
    "gpt2": SMALL,
    "no_bias": replace(SMALL, bias=False),
    "sinusoidal": replace(SMALL, positions="sinusoidal"),
    "untied": replace(SMALL, tie_weights=False),
    "rope": replace(SMALL, positions="rope"),
    "alibi": replace(SMALL, positions="alibi"),
    "no_positions": replace(SMALL, positions="none"),
    "rmsnorm": replace(SMALL, norm="rmsnorm"),
    "relu2": replace(SMALL, activation="relu2"),
    "geglu": replace(SMALL, activation="geglu"),
    "qk_norm": replace(SMALL, qk_norm=True),
    "groups": replace(SMALL, n_head=4, n_kv_head=1, head_size=10),
    "softcap": replace(SMALL, logit_softcap=3.0),
    "value_embeddings": replace(SMALL, value_embeddings=True, n_layer=3),
    "mup": replace(SMALL, parametrization="mup", mup_base_width=16),
    "llama": LLAMA,
    "qwen3": replace(LLAMA, qk_norm=True, head_size=12),
    "alibi_groups": replace(LLAMA, positions="alibi", value_embeddings=True),
}
