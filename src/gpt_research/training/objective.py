"""What a run is trained to do: which batches it reads, which loss they give, how it is evaluated.

The loop, the checkpoints and the run folder are the same for every objective. `inputs.TrainingData`
is that of pretraining: the windows of a data set, of which each token predicts the next.
`finetuning.objective` has another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gpt_research.training.step import Batches, TrainStep

if TYPE_CHECKING:
    import torch

    from gpt_research.base.runtime import Runtime
    from gpt_research.config import TrainConfig
    from gpt_research.data.tokenizer import Tokenizer
    from gpt_research.model_config import GPTConfig
    from gpt_research.training.validation import Loss


@dataclass(frozen=True)
class Source:
    """The weights of a run, from which another one begins."""

    folder: Path
    config: GPTConfig
    """The shape of its model."""
    tokenizer: str
    """Fingerprint of its tokenizer."""
    tensors: Mapping[str, torch.Tensor]


class NumberedBatches(Batches, Protocol):
    """The batches of a run, and how much of the data they hold."""

    def tokens_before(self, step: int) -> int:
        """Return how many tokens the steps before `step` read over all processes."""
        ...

    def passes_before(self, step: int) -> dict[str, float]:
        """Return how often the steps before `step` read each part of the data, by its name."""
        ...


class Objective(Protocol):
    """What a run learns from, the model that computes its loss, and its evaluation."""

    @property
    def command(self) -> str:
        """The command that goes on with a run of this objective."""
        ...

    @property
    def step_kind(self) -> type[TrainStep]:
        """The step, which knows what the model takes of a batch."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def tokenizer_file(self) -> Path | None:
        """The file that is copied into the run folder; None if the tokenizer is written anew."""
        ...

    @property
    def model(self) -> GPTConfig:
        """The shape of the model with the vocabulary of the tokenizer."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the data."""
        ...

    @property
    def lineage(self) -> Mapping[str, Any]:
        """What the lineage of a checkpoint says besides the entries of every run."""
        ...

    @property
    def validated(self) -> list[str]:
        """The parts of the data with a validation split."""
        ...

    @property
    def writes_samples(self) -> bool:
        """True if each evaluation lets the model write a text."""
        ...

    def sample_sha256(self) -> str:
        """Return the hash of some of the data, which all processes must have alike."""
        ...

    @property
    def remarks(self) -> Callable[[TrainConfig], list[str]]:
        """Takes the settings; returns a sentence on each thing that the user may not have meant. It
        raises a UserError if the run would have to stop later.
        """
        ...

    @property
    def new_model(self) -> Callable[[GPTConfig], Any]:
        """Takes a shape; returns a `GPT` whose matrices are shapes only."""
        ...

    @property
    def batches(self) -> Callable[..., NumberedBatches]:
        """Takes the settings, `rank` and `world_size`; returns the batches of a process."""
        ...

    def fit(self, source: Source) -> Mapping[str, torch.Tensor] | None:
        """Return the weights with which a run begins, made of another run's; a parameter that is
        left out is drawn. None if those must fit as they are.

        Raises:
            UserError: they cannot be used.
        """
        ...

    def validate(self, model: torch.nn.Module, config: TrainConfig, runtime: Runtime) -> dict[str, Loss]:
        """Return the loss of each part of the data that has a validation split."""
        ...

    def windows(self, batches: Any, step: int) -> list[dict[str, Any]]:
        """Return what this process reads in a step, counted from 0, for its black box."""
        ...
