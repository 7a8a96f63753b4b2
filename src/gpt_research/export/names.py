"""Parameter names and layouts, ours and GPT-2's, both ways and for any size.

    ours                            GPT-2 (Hugging Face, minGPT, nanoGPT)      shape, ours
    token_embedding.weight          transformer.wte.weight                     (V, C)
    position_embedding.weight       transformer.wpe.weight                     (T, C)
    blocks.0.norm_1.weight          transformer.h.0.ln_1.weight                (C,)
    blocks.0.attention.qkv.weight   transformer.h.0.attn.c_attn.weight         (3C, C)
    blocks.0.attention.proj.weight  transformer.h.0.attn.c_proj.weight         (C, C)
    blocks.0.norm_2.weight          transformer.h.0.ln_2.weight                (C,)
    blocks.0.mlp.up.weight          transformer.h.0.mlp.c_fc.weight            (4C, C)
    blocks.0.mlp.down.weight        transformer.h.0.mlp.c_proj.weight          (C, 4C)
    norm.weight                     transformer.ln_f.weight                    (C,)
    head.weight, if untied          lm_head.weight                             (V, C)

Hugging Face keeps OpenAI's "conv1d" layout, which stores the four matrices of a block as (in, out).
minGPT and nanoGPT have the "linear" layout, (out, in), as we do. Knows nothing about files or
configs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch

from gpt_research.base.errors import UserError

Layout = Literal["conv1d", "linear"]

_OUTSIDE_BLOCKS = {
    "token_embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}
_INSIDE_BLOCKS = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.proj": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
_OUR_OUTSIDE = {theirs: ours for ours, theirs in _OUTSIDE_BLOCKS.items()}
_OUR_INSIDE = {theirs: ours for ours, theirs in _INSIDE_BLOCKS.items()}

_OURS = re.compile(r"blocks\.(\d+)\.([\w.]+)\.(weight|bias)")
_THEIRS = re.compile(r"transformer\.h\.(\d+)\.([\w.]+)\.(weight|bias)")
_CAUSAL_MASK = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")
"""Old files store the triangular mask as a buffer. It is not a weight."""


def gpt2_name(name: str) -> str:
    """Return GPT-2's name of one of our parameters; KeyError for any other name."""
    if match := _OURS.fullmatch(name):
        return f"transformer.h.{match[1]}.{_INSIDE_BLOCKS[match[2]]}.{match[3]}"
    module, _, kind = name.rpartition(".")
    return f"{_OUTSIDE_BLOCKS[module]}.{kind}"


def our_name(name: str) -> str:
    """Return our name of one of GPT-2's parameters; KeyError for any other name."""
    if match := _THEIRS.fullmatch(name):
        return f"blocks.{match[1]}.{_OUR_INSIDE[match[2]]}.{match[3]}"
    module, _, kind = name.rpartition(".")
    return f"{_OUR_OUTSIDE[module]}.{kind}"


def to_gpt2(tensors: Mapping[str, torch.Tensor], layout: Layout = "conv1d") -> dict[str, torch.Tensor]:
    """Give our tensors, as `model_tensors` returns them, GPT-2's names and layout."""
    return {
        gpt2_name(name): tensor.t().contiguous() if layout == "conv1d" and _is_matrix(name) else tensor
        for name, tensor in tensors.items()
    }


def from_gpt2(tensors: Mapping[str, torch.Tensor], where: str = "The model") -> dict[str, torch.Tensor]:
    """Give GPT-2's tensors our names and layout; the shapes tell which layout they have.

    Names may lack "transformer." (the released GPT-2) or begin with "_orig_mod." (saved from a
    compiled model). Stored causal masks are dropped. A head that equals the token embedding is
    dropped too, because it was tied.

    Raises:
        UserError: a tensor that GPT-2 does not have, naming `where` and the tensor.
    """
    ours = {}
    for name, tensor in tensors.items():
        name = _full_name(name)
        if _CAUSAL_MASK.fullmatch(name):
            continue
        try:
            ours[our_name(name)] = tensor
        except KeyError:
            raise UserError(
                f'{where} is not a GPT-2: it has the tensor "{name}". Only GPT-2\'s architecture can be read.'
            ) from None
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
