"""Settings of runs that train for a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig


def small_training(data: Path, **changes: Any) -> TrainConfig:
    """Return the settings of six small steps on the CPU, all of them logged, with no evaluation
    before the last.
    """
    config = TrainConfig(
        data=str(data),
        model=GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=32),
        max_steps=6,
        tokens_per_step=128,
        micro_batch=4,
        learning_rate=1e-2,
        warmup_steps=1,
        log_interval=1,
        eval_interval=0,
        eval_tokens=256,
        precision="fp32",
        device="cpu",
    )
    return replace(config, **changes)
