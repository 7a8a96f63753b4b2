"""The average of a run's weights: a moving one, updated after each step that changed them, or the
one that the optimizer keeps.

An average over the last steps has less of the noise of single steps. It takes no part in training.
Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging".
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import PaddedModule, held_rows, model_tensors, restore_model

T = TypeVar("T")


class AveragedWeights(abc.ABC):
    """Weights beside those of the steps, at which a run is evaluated too."""

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Steps that are in the average; 0 if there is none yet."""

    @abc.abstractmethod
    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what is kept for the average, by the names of the weights."""

    @abc.abstractmethod
    def update(self, left_out: torch.Tensor) -> None:
        """Take the weights after a step into the average.

        Args:
            left_out: a boolean scalar on the device: True if the step left the weights as they
                were, and so is none. The host does not wait for it.
        """

    @abc.abstractmethod
    def in_place(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model has the averaged weights; afterwards it has its own again, to the bit.

        Before the first step there is no average, and the model keeps its own.
        """

    @abc.abstractmethod
    def tensors(self) -> dict[str, torch.Tensor] | None:
        """Return the averages to save, as `model_tensors` does; None before the first step."""

    @abc.abstractmethod
    def restore(self, tensors: Mapping[str, torch.Tensor] | None, steps: int, where: str) -> None:
        """Take over a saved average of so many steps; with None, begin anew.

        Raises:
            UserError: it is of another model.
        """

    def measure(self, evaluate: Callable[[], T]) -> T:
        """Return what `evaluate` does while the model has the averaged weights."""
        with self.in_place():
            return evaluate()


def averaged_weights(
    model: PaddedModule, optimizer: torch.optim.Optimizer, decay: float, device: torch.device
) -> AveragedWeights | None:
    """Return the average that a run keeps: that of its optimizer if this has one, or the moving
    average if there is a `decay`; None for none.

    Raises:
        UserError: it would have both.
    """
    if not (hasattr(optimizer, "eval") and any("train_mode" in group for group in optimizer.param_groups)):
        return WeightAverage(model, decay, device) if decay else None
    if decay:
        raise UserError(f"{type(optimizer).__name__} averages the weights by itself. Leave ema_decay out.")
    return PointOfEvaluation(model, optimizer)


class WeightAverage(AveragedWeights):
    """An exponential moving average (EMA) of a model's weights; if it is sharded, of the rows that
    this process holds.
    """

    def __init__(self, model: PaddedModule, decay: float, device: torch.device) -> None:
        """Begin an average of no step.

        Args:
            decay: weight of the average so far, at most; 0.999 averages over about 1,000 steps.
            device: that of the model.
        """
        self.decay, self._model = decay, model
        self._averages = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self._steps = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def steps(self) -> int:
        return int(self._steps.item())

    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._averages.items()

    def saved_rows(self) -> Mapping[str, int]:
        """Return what the model does."""
        return self._model.saved_rows()

    @torch.no_grad()
    def update(self, left_out: torch.Tensor) -> None:
        self._steps += ~left_out
        # The first step is the whole average, so the initial weights are never in it. Then the
        # window grows with the run, to about the last tenth of its steps, until it is that of
        # `decay`. So the average of a short run does not hang on to its beginning.
        before = self._steps - 1
        share = 1 - torch.clamp(before / (before + 10), max=self.decay)
        share = torch.where(left_out, 0.0, share)
        for name, weight in self._model.named_parameters():
            held_rows(self._averages[name])[0].lerp_(held_rows(weight)[0], share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        if not self.steps:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._model.named_parameters():
            own, average = held_rows(weight)[0], held_rows(self._averages[name])[0]
            kept = own.clone()
            own.copy_(average)
            average.copy_(kept)

    def tensors(self) -> dict[str, torch.Tensor] | None:
        return model_tensors(self) if self.steps else None

    def restore(self, tensors: Mapping[str, torch.Tensor] | None, steps: int, where: str) -> None:
        if tensors is not None:
            restore_model(self, tensors, where)
        self._steps.fill_(0 if tensors is None else steps)


class PointOfEvaluation(AveragedWeights):
    """The average that an optimizer keeps by itself: a schedule-free one takes gradients at one
    point, and is evaluated at another.

    Source: Defazio et al. 2024, "The Road Less Scheduled".
    """

    def __init__(self, model: PaddedModule, optimizer: Any) -> None:
        self._model, self._optimizer = model, optimizer

    @property
    def steps(self) -> int:
        return int(bool(self._optimizer.state))

    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from ()  # it follows from the weights and the optimizer's state

    def update(self, left_out: torch.Tensor) -> None:
        pass

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        if not self.steps:
            yield
            return
        # To come back from `eval` by `train` rounds, so the weights are kept.
        kept = {name: held_rows(weight)[0].clone() for name, weight in self._model.named_parameters()}
        self._optimizer.eval()
        try:
            yield
        finally:
            self._optimizer.train()
            with torch.no_grad():
                for name, weight in self._model.named_parameters():
                    held_rows(weight)[0].copy_(kept[name])

    def tensors(self) -> dict[str, torch.Tensor] | None:
        if not self.steps:
            return None
        with self.in_place():
            return model_tensors(self._model)

    def restore(self, tensors: Mapping[str, torch.Tensor] | None, steps: int, where: str) -> None:
        pass
