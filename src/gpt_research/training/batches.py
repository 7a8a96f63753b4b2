"""The data loader of a training run.

The trainer, the estimate of passes over the data and `gpt-research where` read the same windows,
because all of them make their loader here.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpt_research.config import TrainConfig
from gpt_research.data.loader import DataLoader
from gpt_research.data.shards import TokenFiles


def loader_of_run(
    config: TrainConfig, files: Mapping[str, TokenFiles], rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Return the loader of the run of `config`, for one rank among `world_size`."""
    return DataLoader(
        files,
        config.weights,
        samples_per_step=config.tokens_per_step // config.model.block_size,
        micro_batch=config.micro_batch,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
        vocab_size=config.model.vocab_size,
        temperature=config.mix_temperature,
    )
