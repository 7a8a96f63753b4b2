"""A run in a process of its own, for tests that break it: python worker.py CONFIG UNTIL
[nan-on-rank STEP,...].
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.config import TrainConfig
from gpt_research.training import loop as training
from gpt_research.training.step import TrainStep


def spoil_gradients(steps: set[int]) -> None:
    """Let one weight's gradient be no number on rank 1 alone, before ranks exchange gradients."""
    plain = TrainStep.accumulate

    def accumulate(self: TrainStep, step: int, *args: object, **kwargs: object) -> object:
        if step not in steps or self.runtime.rank != 1:
            return plain(self, step, *args, **kwargs)  # type: ignore[arg-type]
        handle = self.model.blocks[0].mlp.up.weight.register_hook(lambda gradient: gradient * math.nan)
        try:
            return plain(self, step, *args, **kwargs)  # type: ignore[arg-type]
        finally:
            handle.remove()

    TrainStep.accumulate = accumulate  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    if len(sys.argv) > 3:
        spoil_gradients({int(step) for step in sys.argv[3].split(",")})
    config = read_yaml(TrainConfig, Path(sys.argv[1]))
    try:
        outcome = training.train(config, until=int(sys.argv[2]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)
    sys.exit(0 if outcome.stopped_by is None else 128 + outcome.stopped_by)
