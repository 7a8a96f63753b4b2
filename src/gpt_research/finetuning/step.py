"""The training step on examples: the same as that of pretraining, with other inputs."""

from __future__ import annotations

import time
from typing import Any

import torch

from gpt_research.training.step import TrainStep


class ExampleStep(TrainStep):
    """A step whose batches say themselves what the model takes and what the loss is divided by."""

    batches: Any

    def _divisor(self, step: int) -> float:
        divisor: float = self.batches.divisor(step)
        return divisor

    def _fetch(self, step: int, micro_step: int) -> tuple[torch.Tensor, ...]:
        began = time.perf_counter()
        inputs = tuple(self._sent(tensor) for tensor in self.batches.inputs(step, micro_step))
        self.data_s += time.perf_counter() - began
        return inputs
