"""The inputs of a training run: its data set, the tokenizer of the data set, and the data loader.

The trainer, the estimate of passes over the data and `gpt-research where` read the same windows,
because all of them make their loader here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.data.dataset_tokenizer import tokenizer_of
from gpt_research.data.loader import DataLoader
from gpt_research.data.shards import Dataset, TokenFiles, data_fingerprint
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model_config import GPTConfig


@dataclass(frozen=True)
class TrainingData:
    """A data set, opened for training."""

    dataset: Dataset
    tokenizer: Tokenizer
    """As `data.dataset_tokenizer` finds it."""
    tokenizer_file: Path | None
    """The data set's own tokenizer.json; None if it was prepared elsewhere and has none."""
    model: GPTConfig
    """The shape of the model with the vocabulary of the tokenizer."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the data set."""
        return data_fingerprint(self.dataset.manifests)

    @property
    def validated(self) -> list[str]:
        """The corpora with a validation split that holds a token to predict."""
        return [name for name, files in self.dataset.val.items() if files.num_tokens > 1]

    @classmethod
    def open(cls, config: TrainConfig) -> TrainingData:
        """Open the data set that a run reads; with `config.verify_data`, hash every shard first.

        Raises:
            UserError: no data set, damage, a tokenizer that is not the one the shards were written
                with, or a model of another vocabulary than the tokenizer's.
        """
        dataset = Dataset(config.data, config.model.block_size)
        if config.verify_data:
            dataset.verify()
        tokenizer, path = tokenizer_of(dataset)
        size = tokenizer.vocab_size
        if config.model.vocab_size not in (GPTConfig.vocab_size, size):
            raise UserError(
                f"model.vocab_size is {config.model.vocab_size}, but the tokenizer of {dataset.folder} has {size} "
                "entries. Leave model.vocab_size out."
            )
        return cls(dataset, tokenizer, path, dataclasses.replace(config.model, vocab_size=size))


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
        shuffle_documents=config.shuffle_documents,
    )
