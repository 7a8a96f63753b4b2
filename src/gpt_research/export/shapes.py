"""Which architecture other programs know a model by, what stands in the way, and its tensors.

GPT-2 as other programs know it has every bias and learned positions. Our models may lack biases,
which become zeros. They may have sinusoidal positions, which become a table; the embedding takes
over their scaling, which unties the head. Both compute the same. The padding of the vocabulary
stays behind.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import Literal

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import GPTConfig
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import sinusoidal_positions

Shape = Literal["gpt2"]

_FREE = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "dropout", "bias", "tie_weights")
"""Settings that may have any value in a GPT-2."""

_GPT2 = {"positions": ("learned", "sinusoidal")}
"""Values that GPT-2 allows. A setting that is neither here nor free must have its default."""


def shape_of(config: GPTConfig) -> Shape | None:
    """Return the architecture by which other programs know this config, or None."""
    return None if in_the_way(config) else "gpt2"


def in_the_way(config: GPTConfig) -> list[str]:
    """Return the settings, with their values, that GPT-2's architecture does not have."""
    settings = []
    for field in dataclasses.fields(config):
        value, allowed = getattr(config, field.name), _GPT2.get(field.name, (field.default,))
        if field.name not in _FREE and value not in allowed:
            settings.append(f"model.{field.name} is {value} (GPT-2: {' or '.join(map(str, allowed))})")
    return settings


def gpt2_form(model: GPT) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
    """Return config and tensors of an equal model with GPT-2's biases and learned positions.

    A tied head comes as no tensor of its own.

    Raises:
        UserError: the model has settings that GPT-2 does not have; the message lists them.
    """
    config = model.config
    if settings := in_the_way(config):
        raise UserError(
            f"This model has no form as a GPT-2, because {'; '.join(settings)}. --format safetensors takes any model."
        )
    tensors = model_tensors(model)
    if config.positions == "sinusoidal":
        if config.tie_weights:
            tensors["head.weight"] = tensors["token_embedding.weight"]
        tensors["token_embedding.weight"] = tensors["token_embedding.weight"] * math.sqrt(config.n_embd)
        tensors["position_embedding.weight"] = sinusoidal_positions(config.block_size, config.n_embd)
        config = replace(config, positions="learned", tie_weights=False)
    if not config.bias:
        config = replace(config, bias=True)
        biases = {name: shape for name, shape in tensor_shapes(config).items() if name.endswith("bias")}
        tensors |= {name: torch.zeros(shape) for name, shape in biases.items()}
    return config, tensors


def tensor_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a checkpoint of this config holds."""
    with torch.device("meta"):
        model = GPT(config)
    rows = model.saved_rows()
    return {name: (rows.get(name, p.size(0)), *p.shape[1:]) for name, p in model.named_parameters()}
