"""AdamW as GPT-2-class models use it, in one fused step, and its state by parameter name.

Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization".
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gpt_research.config import TrainConfig
from gpt_research.errors import UserError
from gpt_research.model import GPT


def make_optimizer(model: GPT, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and embeddings but neither norms nor biases."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: GPT) -> dict[str, torch.Tensor]:
    """Return the optimizer's state as `<moment>/<parameter>`, copied to the CPU."""
    return {
        f"{moment}/{name}": value.detach().to("cpu", copy=True)
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state[parameter].items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: GPT, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put saved state back.

    Raises:
        UserError: state of a parameter the model does not have, or of another shape.
    """
    parameters = dict(model.named_parameters())
    for key, tensor in tensors.items():
        moment, _, name = key.partition("/")
        parameter = parameters.get(name)
        if parameter is None or (tensor.dim() > 0 and tensor.shape != parameter.shape):
            raise UserError(f"The checkpoint's optimizer state {key} does not fit the model.")
        # fused AdamW keeps its step count where the parameter is
        optimizer.state[parameter][moment] = tensor.to(parameter.device, copy=True)
