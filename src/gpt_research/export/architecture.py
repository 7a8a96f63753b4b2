"""The architecture under which other programs know a model, and the model in that form.

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
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import sinusoidal_positions
from gpt_research.model_config import GPTConfig

Architecture = Literal["gpt2"]

_ANY_VALUE = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "dropout", "bias", "tie_weights")
"""Settings that may have any value in a GPT-2."""

_GPT2 = {"positions": ("learned", "sinusoidal")}
"""Values that GPT-2 allows. A setting in neither table must have its default."""


def architecture_of(config: GPTConfig) -> Architecture | None:
    """Return the name of the architecture that this config describes, or None if there is none."""
    return None if unsupported_settings(config) else "gpt2"


def unsupported_settings(config: GPTConfig) -> list[str]:
    """Return the settings, with their values, that GPT-2's architecture does not have."""
    settings = []
    for field in dataclasses.fields(config):
        value, allowed = getattr(config, field.name), _GPT2.get(field.name, (field.default,))
        if field.name not in _ANY_VALUE and value not in allowed:
            settings.append(f"model.{field.name} is {value} (GPT-2: {' or '.join(map(str, allowed))})")
    return settings


def as_gpt2(model: GPT) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
    """Return config and tensors of an equal model with GPT-2's biases and learned positions.

    If the head is tied, it has no tensor.

    Raises:
        UserError: the model has settings that GPT-2 does not have; the message lists them.
    """
    config = model.config
    if settings := unsupported_settings(config):
        raise UserError(
            f"This model has no form as a GPT-2, because {'; '.join(settings)}. --format safetensors takes any model."
        )
    tensors = model_tensors(model)
    if config.positions == "sinusoidal":
        # Our model multiplies the embeddings by sqrt(C) and GPT-2 does not, so the weights take the
        # factor. The head must not, so it becomes a tensor of its own.
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
