"""Settings of runs that train for a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig


def six_steps(data: Path, out: Path, **changes: Any) -> TrainConfig:
    """Return the settings of a run of six steps, with the checkpoints of the steps 2, 4 and 6."""
    config = TrainConfig(
        data=str(data),
        out=str(out),
        model=GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=32),
        max_steps=6,
        tokens_per_step=128,
        micro_batch=4,
        learning_rate=1e-2,
        warmup_steps=1,
        eval_interval=0,
        eval_tokens=256,
        save_interval=2,
        keep_last=5,
        precision="fp32",
        device="cpu",
    )
    return replace(config, **changes)
