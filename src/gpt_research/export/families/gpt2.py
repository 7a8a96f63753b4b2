"""GPT-2, as OpenAI released it, as transformers has it, and as minGPT and nanoGPT store it.

    ours                            GPT-2 (Hugging Face, minGPT, nanoGPT)      shape, ours
    token_embedding.weight          transformer.wte.weight                     (V, C)
    position_embedding.weight       transformer.wpe.weight                     (T, C)
    blocks.0.norm_1.weight          transformer.h.0.ln_1.weight                (C,)
    blocks.0.attention.qkv.weight   transformer.h.0.attn.c_attn.weight         (3C, C)
    blocks.0.attention.proj.weight  transformer.h.0.attn.c_proj.weight         (C, C)
    blocks.0.norm_2.weight          transformer.h.0.ln_2.weight                (C,)
    blocks.0.mlp.up.weight          transformer.h.0.mlp.c_fc.weight            (F, C)
    blocks.0.mlp.down.weight        transformer.h.0.mlp.c_proj.weight          (C, F)
    norm.weight                     transformer.ln_f.weight                    (C,)
    head.weight, if untied          lm_head.weight                             (V, C)

Hugging Face keeps OpenAI's "conv1d" layout, which stores the four matrices of a block as (in, out).
minGPT and nanoGPT have the "linear" layout, (out, in), as we do.

GPT-2 as other programs know it has every bias and learned positions. Our models may lack biases,
which become zeros. They may have sinusoidal positions, which become a table; the embedding takes
over their scaling, which unties the head. Both compute the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch

from gpt_research.base.errors import UserError
from gpt_research.export.families.family import Family, Settings, Values, shortest, without_mup
from gpt_research.export.families.names import Names, Tensors
from gpt_research.model.gpt import GPT
from gpt_research.model.parts.feed_forward import ff_width
from gpt_research.model.variants import sinusoidal_positions
from gpt_research.model_config import GPTConfig

Layout = Literal["conv1d", "linear"]

NAMES = Names(
    block="transformer.h.{}",
    outside={
        "token_embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    inside={
        "norm_1": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.proj": "attn.c_proj",
        "norm_2": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    },
)

_CAUSAL_MASK = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")
"""Old files store the triangular mask as a buffer. It is not a weight."""
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
"""Names of the tanh form of GELU."""


class Gpt2(Family):
    """GPT-2 of any size."""

    name, title, model_class = "gpt2", "GPT-2", "GPT2LMHeadModel"
    free = ("bias",)
    values: ClassVar[Values] = {"positions": ("learned", "sinusoidal")}
    hf_names = NAMES
    gguf_names = Names(
        block="blk.{}",
        outside={
            "token_embedding": "token_embd",
            "position_embedding": "position_embd",
            "norm": "output_norm",
            "head": "output",
        },
        inside={
            "norm_1": "attn_norm",
            "attention.qkv": "attn_qkv",
            "attention.proj": "attn_output",
            "norm_2": "ffn_norm",
            "mlp.up": "ffn_up",
            "mlp.down": "ffn_down",
        },
    )

    def form(self, config: GPTConfig, tensors: Tensors) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
        """Return an equal model with all biases and learned positions."""
        config, found = without_mup(config, tensors)
        if config.positions == "sinusoidal":
            # Our model multiplies the embeddings by sqrt(C) and GPT-2 does not, so the weights take
            # the factor. The head must not, so it becomes a tensor of its own.
            if config.tie_weights:
                found["head.weight"] = found["token_embedding.weight"]
            found["token_embedding.weight"] = found["token_embedding.weight"] * math.sqrt(config.n_embd)
            found["position_embedding.weight"] = sinusoidal_positions(config.block_size, config.n_embd)
            config = replace(config, positions="learned", tie_weights=False)
        if not config.bias:
            config = replace(config, bias=True)
            with torch.device("meta"):
                biases = {name: p for name, p in GPT(config).named_parameters() if name.endswith("bias")}
            found |= {name: torch.zeros(p.shape) for name, p in biases.items()}
        return config, found

    def hf_settings(self, config: GPTConfig) -> dict[str, Any]:
        """Return the entries of a GPT2Config."""
        return {
            "activation_function": _TANH_GELU[0],
            "layer_norm_epsilon": config.norm_eps,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
            "n_positions": config.block_size,
            "n_ctx": config.block_size,  # the older name, which converters still read
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": None if ff_width(config) == 4 * config.n_embd else ff_width(config),
            **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.dropout),
        }

    def read_hf_settings(self, settings: Settings) -> GPTConfig:
        """Return the config that a GPT2Config describes; the weights tell whether the head is
        tied.
        """
        settings.choice("activation_function", _TANH_GELU, _TANH_GELU[0])
        settings.choice("scale_attn_weights", (True,), True)
        for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
            settings.choice(name, (False,), False)
        n_embd = settings.integer("n_embd")
        positions = "n_positions" if settings.entries.get("n_positions") else "n_ctx"
        config = GPTConfig(
            n_layer=settings.integer("n_layer"),
            n_head=settings.integer("n_head"),
            n_embd=n_embd,
            n_ff=settings.integer("n_inner", 4 * n_embd),
            block_size=settings.integer(positions),
            vocab_size=settings.integer("vocab_size"),
            norm_eps=settings.number("layer_norm_epsilon", 1e-5),
        )
        return shortest(config)

    def to_hf(self, config: GPTConfig, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Give the tensors GPT-2's names, and the layout of conv1d."""
        return to_gpt2(tensors)

    def from_hf(self, config: GPTConfig, tensors: Tensors, where: str) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
        """Give GPT-2's tensors our names; the head is tied if there is none of its own."""
        ours = from_gpt2(tensors, where)
        return replace(config, tie_weights="head.weight" not in ours), ours

    def add_gguf_settings(self, writer: Any, config: GPTConfig) -> None:
        """Add the epsilon of the norms."""
        writer.add_layer_norm_eps(config.norm_eps)

    def read_gguf_settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the epsilon of the norms."""
        return {"norm_eps": values["gpt2.attention.layer_norm_epsilon"]}


def to_gpt2(tensors: Tensors, layout: Layout = "conv1d") -> dict[str, torch.Tensor]:
    """Give our tensors, as `model_tensors` returns them, GPT-2's names and layout."""
    return {
        NAMES.theirs(name)[0]: tensor.t().contiguous() if layout == "conv1d" and _is_matrix(name) else tensor
        for name, tensor in tensors.items()
    }


def from_gpt2(tensors: Tensors, where: str = "The model") -> dict[str, torch.Tensor]:
    """Give GPT-2's tensors our names and layout; the shapes tell which layout they have.

    Names may lack "transformer." (the released GPT-2) or begin with "_orig_mod." (saved from a
    compiled model). Stored causal masks are dropped. A head that equals the token embedding is
    dropped too, because it was tied.

    Raises:
        UserError: a tensor that GPT-2 does not have, naming `where` and the tensor.
    """
    ours = {}
    for short_name in tensors:
        name = _full_name(short_name)
        if _CAUSAL_MASK.fullmatch(name):
            continue
        try:
            ours[NAMES.ours(name)[0]] = tensors[short_name]
        except KeyError:
            raise UserError(f'{where} is not a GPT-2: it has the tensor "{name}".') from None
    if _layout_of(ours) == "conv1d":
        ours = {name: t.t().contiguous() if _is_matrix(name) and t.dim() == 2 else t for name, t in ours.items()}
    head, embedding = ours.get("head.weight"), ours.get("token_embedding.weight")
    if head is not None and embedding is not None and torch.equal(head, embedding):
        del ours["head.weight"]
    return ours


def _full_name(name: str) -> str:
    name = name.removeprefix("_orig_mod.")
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


def _is_matrix(name: str) -> bool:
    """Return whether one of our names is a matrix inside a block, which conv1d transposes."""
    return name.startswith("blocks.") and name.endswith(".weight") and ".norm_" not in name


def _layout_of(ours: Mapping[str, torch.Tensor]) -> Layout:
    """Return the layout: in conv1d, the matrix of queries, keys and values is wider than it is
    high.
    """
    qkv = ours.get("blocks.0.attention.qkv.weight")
    return "conv1d" if qkv is not None and qkv.dim() == 2 and qkv.shape[0] < qkv.shape[1] else "linear"
