"""Tries an optimizer of pytorch-optimizer on a few numbers before a run begins.

It must take steps as the training step asks for them, and go on from a checkpoint as if never
stopped. What does not is refused in a sentence, before anything is read or written.
"""

from __future__ import annotations

import torch

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.optimizer_state import optimizer_tensors, optimizer_values, restore_optimizer
from gpt_research.training.optimizers import make_optimizer, own_optimizer
from gpt_research.training.package_optimizers import NEEDS_CLOSURE

STEPS = 8
"""Steps of the trial; half of them come after a checkpoint."""


def check_optimizer(config: TrainConfig) -> None:
    """Check that `config.optimizer.name` can take the steps of a run, if it is of the package.

    Raises:
        UserError: there is no such optimizer; it needs what a step does not give; or it does not go
            on from a checkpoint bit for bit.
    """
    name = config.optimizer.name
    if own_optimizer(name) is not None:
        return
    with torch.random.fork_rng(devices=[]):
        one, other = _Trial(config), _Trial(config)
        half = STEPS // 2
        one.take(0, half)
        try:
            tensors = optimizer_tensors(one.optimizer, one.model)
            values = optimizer_values(one.optimizer, one.model)
            other.model.load_state_dict(one.model.state_dict())
            restore_optimizer(other.optimizer, other.model, tensors, values)
        except UserError as error:
            raise UserError(f"optimizer.name is {name}, but a run with it could not be resumed: {error}") from None
        one.take(half, STEPS)
        other.take(half, STEPS)
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    if not all(torch.equal(ours, theirs) for ours, theirs in pairs):
        raise UserError(
            f"optimizer.name is {name}, but a run with it could not be resumed: {name} remembers something outside "
            "its state and its groups, so a resumed run would be another run."
        )


class _Trial:
    """A model of a few numbers, and its optimizer."""

    def __init__(self, config: TrainConfig) -> None:
        self.model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=16, tie_weights=False), 0)
        self.optimizer = make_optimizer(self.model, config)
        self.name = config.optimizer.name

    def take(self, begin: int, end: int) -> None:
        """Take the steps from `begin` to before `end`."""
        for step in range(begin, end):
            torch.manual_seed(step)
            for parameter in self.model.parameters():
                parameter.grad = 0.01 * torch.randn_like(parameter)
            try:
                self.optimizer.step()
            except Exception as error:  # errors of many kinds, all about what the optimizer needs
                raise UserError(
                    f"optimizer.name is {self.name}, but {self.name} cannot take the steps here: {_why(error)}."
                ) from None


def _why(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if "closure" in text.lower():
        return NEEDS_CLOSURE
    if "does not require grad" in text:
        return "it needs second derivatives, and a step has the gradient alone"
    return f"its step fails ({text})"
