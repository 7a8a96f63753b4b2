"""Llama and Qwen3: rotary positions, RMSNorm, a gated feed-forward network, groups of heads.

    ours                              Llama (Hugging Face)                       shape, ours
    token_embedding.weight            model.embed_tokens.weight                  (V, C)
    blocks.0.norm_1.weight            model.layers.0.input_layernorm.weight      (C,)
    blocks.0.attention.qkv.weight     ... self_attn.{q,k,v}_proj.weight          (HD + 2KD, C)
    blocks.0.attention.q_norm.weight  ... self_attn.q_norm.weight, Qwen3 only    (D,)
    blocks.0.attention.proj.weight    ... self_attn.o_proj.weight                (C, HD)
    blocks.0.norm_2.weight            ... post_attention_layernorm.weight        (C,)
    blocks.0.mlp.{gate,up}.weight     ... mlp.{gate,up}_proj.weight              (F, C)
    blocks.0.mlp.down.weight          ... mlp.down_proj.weight                   (C, F)
    norm.weight                       model.norm.weight                          (C,)
    head.weight, if untied            lm_head.weight                             (V, C)

llama.cpp turns the features 2i and 2i + 1 of a Llama's head together, as Meta's files have them,
so a GGUF file has the rows of queries and keys in that order. For Qwen3 it turns i and i + D/2, as
everybody else does.
Source: Touvron et al. 2023, "LLaMA"; Qwen Team 2025, "Qwen3 Technical Report".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from gpt_research.export.families.family import Family, Obstacle, Program, Settings, Values, qkv_rows, shortest
from gpt_research.export.families.names import Names, Tensors
from gpt_research.model.parts.feed_forward import ff_width
from gpt_research.model_config import GPTConfig

_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu", "gelu_new": "geglu"}
"""`hidden_act` of the gate, and our name of the activation."""

_OLD_ROTARY_RATES = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
"""Old files store the rates of the angles as a buffer. They are not weights."""

_HEAD = "lm_head.weight"


class _Shape(Family):
    """What Llama and Qwen3 have in common."""

    free: ClassVar[tuple[str, ...]] = ("n_kv_head", "head_size", "rope_theta")
    values: ClassVar[Values] = {
        "positions": ("rope",),
        "norm": ("rmsnorm",),
        "activation": ("swiglu", "geglu"),
        "bias": (False,),
    }
    values_of_llama_cpp: ClassVar[Values] = {"activation": ("swiglu",)}
    hf_names = Names(
        block="model.layers.{}",
        outside={"token_embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"},
        inside={
            "norm_1": "input_layernorm",
            "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            "attention.q_norm": "self_attn.q_norm",
            "attention.k_norm": "self_attn.k_norm",
            "attention.proj": "self_attn.o_proj",
            "norm_2": "post_attention_layernorm",
            "mlp.gate": "mlp.gate_proj",
            "mlp.up": "mlp.up_proj",
            "mlp.down": "mlp.down_proj",
        },
    )
    gguf_names = Names(
        block="blk.{}",
        outside={"token_embedding": "token_embd", "norm": "output_norm", "head": "output"},
        inside={
            "norm_1": "attn_norm",
            "attention.qkv": ("attn_q", "attn_k", "attn_v"),
            "attention.q_norm": "attn_q_norm",
            "attention.k_norm": "attn_k_norm",
            "attention.proj": "attn_output",
            "norm_2": "ffn_norm",
            "mlp.gate": "ffn_gate",
            "mlp.up": "ffn_up",
            "mlp.down": "ffn_down",
        },
    )

    def hf_settings(self, config: GPTConfig) -> dict[str, Any]:
        """Return the entries that a LlamaConfig and a Qwen3Config share."""
        return {
            "hidden_size": config.n_embd,
            "intermediate_size": ff_width(config),
            "num_hidden_layers": config.n_layer,
            "num_attention_heads": config.n_head,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "hidden_act": next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation),
            "max_position_embeddings": config.block_size,
            "rms_norm_eps": config.norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
            # transformers before version 5 reads these two.
            "rope_theta": config.rope_theta,
            "rope_scaling": None,
            "attention_bias": config.bias,
            "attention_dropout": config.dropout,
        }

    def read_hf_settings(self, settings: Settings) -> GPTConfig:
        """Return the config that those entries describe, as any version of transformers wrote
        them.
        """
        n_embd, n_head = settings.integer("hidden_size"), settings.integer("num_attention_heads")
        return shortest(
            GPTConfig(
                n_layer=settings.integer("num_hidden_layers"),
                n_head=n_head,
                n_kv_head=settings.integer("num_key_value_heads", n_head),
                head_size=settings.integer("head_dim", n_embd // n_head),
                n_embd=n_embd,
                n_ff=settings.integer("intermediate_size"),
                block_size=settings.integer("max_position_embeddings"),
                vocab_size=settings.integer("vocab_size"),
                bias=settings.choice("attention_bias", (False, True), False),
                norm="rmsnorm",
                norm_eps=settings.number("rms_norm_eps", 1e-6),
                activation=_ACTIVATIONS[settings.choice("hidden_act", tuple(_ACTIVATIONS), "silu")],
                positions="rope",
                rope_theta=_rope_theta(settings),
                tie_weights=settings.choice("tie_word_embeddings", (False, True), False),
            )
        )

    def from_hf(self, config: GPTConfig, tensors: Tensors, where: str) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
        """Give the tensors our names; config.json says whether the head is tied."""
        names = [name for name in tensors if not _OLD_ROTARY_RATES.fullmatch(name)]
        if config.tie_weights and _HEAD in names:
            names.remove(_HEAD)  # some files hold the embedding twice, and transformers ties them
        return super().from_hf(config, {name: tensors[name] for name in names}, where)

    def add_gguf_settings(self, writer: Any, config: GPTConfig) -> None:
        """Add heads, rotary angles and the epsilon of the norms."""
        writer.add_vocab_size(config.vocab_size)
        writer.add_head_count_kv(config.kv_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_layer_norm_rms_eps(config.norm_eps)

    def read_gguf_settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those settings, and the family's own."""
        return {
            "n_kv_head": values[f"{self.name}.attention.head_count_kv"],
            "head_size": values[f"{self.name}.attention.key_length"],
            "rope_theta": values[f"{self.name}.rope.freq_base"],
            "norm_eps": values[f"{self.name}.attention.layer_norm_rms_epsilon"],
            "positions": "rope",
            "norm": "rmsnorm",
            "activation": "swiglu",
        }


class Llama(_Shape):
    """Llama of any size, with or without biases."""

    name, title, model_class = "llama", "Llama", "LlamaForCausalLM"
    values: ClassVar[Values] = {**_Shape.values, "bias": (False, True)}

    def obstacles(self, config: GPTConfig, program: Program) -> list[Obstacle]:
        """Add to the table what transformers demands of a LlamaConfig."""
        found = super().obstacles(config, program)
        if config.n_embd % config.n_head:
            found.append(Obstacle("n_embd", config.n_embd, f"{self.title}: a multiple of model.n_head"))
        return found

    def hf_settings(self, config: GPTConfig) -> dict[str, Any]:
        """Return the entries of a LlamaConfig."""
        return {**super().hf_settings(config), "mlp_bias": config.bias}

    def read_hf_settings(self, settings: Settings) -> GPTConfig:
        """Return the config that a LlamaConfig describes."""
        config = super().read_hf_settings(settings)
        if settings.choice("mlp_bias", (False, True), False) != config.bias:
            settings.refuse("mlp_bias", f"{config.bias}, as attention_bias is (a model has all biases or none)")
        return config

    def to_gguf(self, config: GPTConfig, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Give the tensors GGUF's names, and the rows of queries and keys Meta's order."""
        return super().to_gguf(config, {name: _reorder(name, t, config, _to_pairs) for name, t in tensors.items()})

    def from_gguf(self, config: GPTConfig, tensors: Tensors, where: str) -> dict[str, torch.Tensor]:
        """Give tensors of a GGUF file our names and order."""
        ours = super().from_gguf(config, tensors, where)
        return {name: _reorder(name, t, config, _to_halves) for name, t in ours.items()}


class Qwen3(_Shape):
    """Qwen3 of any size: Llama with norms of queries and keys."""

    name, title, model_class = "qwen3", "Qwen3", "Qwen3ForCausalLM"
    values: ClassVar[Values] = {**_Shape.values, "qk_norm": (True,)}

    def hf_settings(self, config: GPTConfig) -> dict[str, Any]:
        """Return the entries of a Qwen3Config."""
        return {**super().hf_settings(config), "use_sliding_window": False}

    def read_hf_settings(self, settings: Settings) -> GPTConfig:
        """Return the config that a Qwen3Config describes."""
        settings.choice("attention_bias", (False,), False)
        settings.choice("use_sliding_window", (False,), False)
        kinds = settings.entries.get("layer_types")
        if kinds is not None and set(kinds) != {"full_attention"}:
            settings.refuse("layer_types", "full_attention in every layer, because a sliding window is not supported")
        # A file that leaves this out means the default of the class.
        entries = {"head_dim": 128, **settings.entries}
        return replace(super().read_hf_settings(replace(settings, entries=entries)), qk_norm=True)

    def read_gguf_settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of both, and the norms of queries and keys."""
        return {**super().read_gguf_settings(values), "qk_norm": True}


def _rope_theta(settings: Settings) -> float:
    """Return the base of the rotary angles; refuse angles that are changed for longer texts.

    Since version 5, transformers writes `rope_parameters`. Before, it wrote `rope_theta` beside
    `rope_scaling`.
    """
    for name in ("rope_parameters", "rope_scaling"):
        rope = settings.entries.get(name)
        if rope is None:
            continue
        if not isinstance(rope, Mapping) or any(isinstance(value, Mapping) for value in rope.values()):
            settings.refuse(name, "one set of rotary angles for all layers")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            settings.refuse(name, f"plain rotary angles, because angles scaled by {kind!r} are not supported")
    rope = settings.entries.get("rope_parameters") or {}
    named = Settings({**settings.entries, **rope}, settings.where)
    if named.number("partial_rotary_factor", 1.0) != 1:
        named.refuse("partial_rotary_factor", "1: all features of a head turn")
    return named.number("rope_theta", 10_000.0)


def _reorder(
    name: str, tensor: torch.Tensor, config: GPTConfig, order: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    """Return a fused matrix, or its bias, with `order` applied to the rows of queries and keys;
    any other tensor as it is.
    """
    if ".attention.qkv." not in name:
        return tensor
    q, k, v = tensor.split(list(qkv_rows(config)))
    return torch.cat((order(q, config.n_head), order(k, config.kv_heads), v))


def _to_pairs(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Put the features i and i + D/2 of each head side by side."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _to_halves(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo `_to_pairs`."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
