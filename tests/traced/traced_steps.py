"""Steps of training on the card that is not there, and a record of what Inductor makes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch

from gpt_research.base import startup
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.execution import Compilation
from gpt_research.training.step import TrainStep


@dataclass(frozen=True)
class Graph:
    """What Inductor made of one forward or backward graph."""

    kernels: int
    """Kernels that it wrote."""
    calls: int
    """Calls of other libraries: products and attention."""
    moved: int
    """Bytes that the kernels which it wrote read and write, by its own scheduler."""


@dataclass
class Recording:
    """The graphs that were compiled since the last `clear`, and what interrupted them."""

    graphs: list[Graph] = field(default_factory=list)

    @property
    def breaks(self) -> dict[str, int]:
        """Reasons for which dynamo broke a graph in two, with their number."""
        return dict(torch._dynamo.utils.counters["graph_break"])

    def clear(self) -> None:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        self.graphs.clear()


class NoKernel:
    """Stands in for a kernel that Triton would compile."""

    def run(self, *arguments: Any, **settings: Any) -> None:
        pass


def make_step(config: TrainConfig, compiled: Compilation) -> TrainStep:
    """Return a step of one micro-batch, compiled in this way."""
    tokens = config.micro_batch * config.model.block_size
    config = dataclasses.replace(config, compile=compiled != "none", tokens_per_step=tokens)
    runtime = startup.start("cuda", config.precision)
    plan = dataclasses.replace(plan_execution(config, runtime), compiled=compiled)
    return build_step(config, plan, runtime, RandomBatches(config.model, config.micro_batch), TrainStep)
