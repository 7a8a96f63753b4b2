"""The inputs of pretraining: a data set, the tokenizer of the data set, and the data loader.

The trainer, the estimate of passes over the data and `gpt-research where` read the same windows,
because all of them make their loader here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.data.dataset_tokenizer import tokenizer_of
from gpt_research.data.loader import DataLoader, shards_by_array
from gpt_research.data.shards import Dataset, TokenFiles, data_fingerprint, gather
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.agreement import sampled_sha256
from gpt_research.training.remarks import about_the_inputs
from gpt_research.training.step import TrainStep
from gpt_research.training.validation import Loss, validate

if TYPE_CHECKING:
    from gpt_research.base.runtime import Runtime

EXCERPT_TOKENS = 64
"""Tokens at the beginning of each window that the record of a step shows as text."""


@dataclass(frozen=True)
class TrainingData:
    """A data set, opened for training; the `Objective` of pretraining."""

    command = "train"
    step_kind = TrainStep
    new_model = partial(GPT, drawn=False)
    writes_samples = True

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
    def lineage(self) -> Mapping[str, Any]:
        """Empty, because tokenizer and data say all."""
        return {}

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

    def sample_sha256(self) -> str:
        """Return the hash of some tokens."""
        return sampled_sha256(self.dataset)

    @property
    def remarks(self) -> Callable[[TrainConfig], list[str]]:
        """A function from the settings to what a user should know of them."""
        corpora = list(self.dataset.train)
        return partial(about_the_inputs, tokenizer=self.tokenizer, corpora=corpora, validated=self.validated)

    @property
    def batches(self) -> Callable[..., DataLoader]:
        """A function from the settings, `rank` and `world_size` to the loader of a process."""
        return partial(loader_of_run, files=self.dataset.train)

    def fit(self, source: object) -> None:
        """Return None: the weights of another run must fit as they are."""

    def validate(self, model: torch.nn.Module, config: TrainConfig, runtime: Runtime) -> dict[str, Loss]:
        """Return the validation loss of each corpus that has a validation split."""
        files = {name: self.dataset.val[name] for name in self.validated}
        byte_lengths = torch.from_numpy(self.tokenizer.byte_lengths).to(runtime.device)
        return validate(model, files, config.eval_tokens, config.micro_batch, byte_lengths, runtime)

    def windows(self, batches: DataLoader, step: int) -> list[dict[str, Any]]:
        """Return the windows of a step, as `describe_windows` does."""
        return describe_windows(batches, self.dataset, self.tokenizer, step)


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


def describe_windows(loader: DataLoader, dataset: Dataset, tokenizer: Tokenizer, step: int) -> list[dict[str, Any]]:
    """Return the position and the first words of each window of `step` (counted from 0) on this
    rank.
    """
    shards = shards_by_array(dataset.train)
    windows = []
    for micro_step in range(loader.micro_steps):
        for window in loader.windows(step, micro_step):
            array, first_token, _ = window[0]
            corpus, shard = shards[id(array)]
            everything = gather([window], loader.block_size)[0]
            tokens = everything[:EXCERPT_TOKENS]
            windows.append(
                {
                    "corpus": corpus,
                    "shard": dataset.manifests[corpus].splits["train"][shard].path,
                    "first_token": first_token,
                    "largest_id": int(everything.max()),
                    # A damaged shard may hold ids that the tokenizer lacks.
                    "begins": tokenizer.decode(tokens[tokens < tokenizer.vocab_size].tolist()),
                }
            )
    return windows
