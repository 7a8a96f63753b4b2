"""What a run reads: its data set and the tokenizer that the data set was written with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.config import GPTConfig
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class TrainingData:
    """A data set, opened for training."""

    dataset: Dataset
    tokenizer: Tokenizer
    """GPT-2's if the data set was prepared elsewhere and has none."""
    tokenizer_file: Path | None
    """The data set's own tokenizer.json."""

    @classmethod
    def open(cls, folder: str, block_size: int, *, verify: bool = False) -> TrainingData:
        """Open a data set folder to read windows of `block_size` tokens; with `verify`, hash every shard.

        Raises:
            UserError: no data set, damage, or a tokenizer that is not the one the shards were written with.
        """
        dataset = Dataset(folder, block_size)
        if verify:
            dataset.verify()
        path = dataset.tokenizer_file
        if path is None:
            if dataset.fingerprint:
                raise UserError(
                    f"{dataset.folder / 'tokenizer.json'} is missing. Put it back or run preprocessing again."
                )
            return cls(dataset, Tokenizer.gpt2(), None)
        tokenizer = Tokenizer.load(path)
        if dataset.fingerprint not in ("", tokenizer.fingerprint):
            raise UserError(
                f"The shards in {dataset.folder} were written with the tokenizer {dataset.fingerprint[:12]}, "
                f"but {path} is {tokenizer.fingerprint[:12]}. Put the right one back or run preprocessing again."
            )
        return cls(dataset, tokenizer, path)

    def fit(self, model: GPTConfig) -> GPTConfig:
        """Return a model's shape with the vocabulary of the tokenizer.

        Raises:
            UserError: the shape names another vocabulary than the default and the tokenizer's.
        """
        size = self.tokenizer.vocab_size
        if model.vocab_size not in (GPTConfig.vocab_size, size):
            raise UserError(
                f"model.vocab_size is {model.vocab_size}, but the tokenizer of {self.dataset.folder} has "
                f"{size} entries. Leave model.vocab_size out."
            )
        return dataclasses.replace(model, vocab_size=size)
