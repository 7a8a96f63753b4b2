"""What a fine-tuning learns, as the training loop takes it (`training.objective.Objective`).

`Finetuning` has what all tasks share: the shape, the tokenizer with new special tokens, and the
weights that the run begins with. `head_objective` and `text_objective` have what differs.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.labelled import metrics_for
from gpt_research.evaluation.statistics import Metric
from gpt_research.finetuning.examples import ExampleFile
from gpt_research.finetuning.settings import FinetuneSettings, Task
from gpt_research.model.adapters import Lora, add_adapters
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.step import TrainStep
from gpt_research.training.validation import Loss

if TYPE_CHECKING:
    from gpt_research.base.runtime import Runtime

NOISE = 0.1
"""Spread of new rows of an embedding around the mean row, as a share of the rows' spread."""
Predictions = Mapping[str, np.ndarray]
"""What was measured on each example, by the names of columns."""


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


@dataclass(frozen=True)
class Finetuning(abc.ABC):
    """A fine-tuning, with its files read."""

    settings: FinetuneSettings
    tokenizer: Tokenizer
    """With the special tokens of the task."""
    model: GPTConfig
    """The shape of the model, with the vocabulary of the tokenizer."""
    train: ExampleFile
    val: ExampleFile | None
    source_vocabulary: int
    """Entries of the tokenizer of the run that this one begins with."""
    begun_batch: int | None = field(default=None, kw_only=True)
    """Examples of a step so far, if the run goes on: with other `epochs` it stays, and so does what
    was read."""

    @property
    def command(self) -> str:
        return "finetune"

    @property
    def step_kind(self) -> type[TrainStep]:
        return ExampleStep

    @property
    def tokenizer_file(self) -> Path | None:
        """None, because the tokenizer has new tokens."""
        return None

    @property
    def task(self) -> Task:
        assert self.settings.task is not None, "`finetune` refuses settings without a task"
        return self.settings.task

    @property
    def files(self) -> dict[str, ExampleFile]:
        return {"train": self.train} | ({"val": self.val} if self.val is not None else {})

    @property
    def validated(self) -> list[str]:
        """The name of the validation examples, if there are any."""
        return ["val"] if self.val is not None else []

    @property
    def fingerprint(self) -> str:
        """Of the content of all files of examples."""
        return hashlib.sha256("".join(file.sha256 for file in self.files.values()).encode()).hexdigest()

    def sample_sha256(self) -> str:
        """Return the fingerprint, because the files were hashed as a whole."""
        return self.fingerprint

    @property
    def lora(self) -> Lora | None:
        """The adapters; None if all weights are trained."""
        settings = self.settings
        if not settings.lora:
            return None
        names = tuple(name.strip() for name in settings.lora_matrices.split(",") if name.strip())
        # A model without a gate has no matrix of that name, and the default names it.
        gated = self.model.activation.endswith("glu")
        names = tuple(name for name in names if name != "gate" or gated)
        return Lora(settings.lora, settings.lora_alpha or 2.0 * settings.lora, names)

    @property
    def lineage(self) -> Mapping[str, Any]:
        """What the weights come from: files by their SHA-256, the task, and what it takes to build
        the model again.
        """
        files = {
            name: {"file": str(file.path), "sha256": file.sha256, "examples": len(file.examples), "cut": self.cut(name)}
            for name, file in self.files.items()
        }
        settings = dataclasses.asdict(self.settings)
        lora = {"lora": dataclasses.asdict(self.lora)} if self.lora is not None else {}
        return {
            "finetune": {
                "task": self.task,
                "source_vocabulary": self.source_vocabulary,
                **self.facts,
                **lora,
                "files": files,
                "settings": settings,
            }
        }

    @property
    def rows(self) -> int:
        """What a step takes `batch_size` of: examples, unless a task packs them."""
        return len(self.train.examples)

    @property
    def batch_size(self) -> int:
        """Examples or rows of a step."""
        begun = self.begun_batch if self.settings.batch_size is None else None
        return begun or self.settings.batch_of(self.rows)

    def micro_batch(self, devices: int) -> int:
        """Return the examples or rows of one forward and backward pass on each device.

        Raises:
            UserError: a step cannot be divided among the devices.
        """
        size = self.batch_size
        if size % devices:
            raise UserError(f"batch_size is {size}, but it must be a multiple of the devices ({devices}).")
        return math.gcd(self.settings.micro_batch, size // devices)

    @property
    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a later command needs to know of the task, for the lineage."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The scores of the task, by name."""
        return metrics_for(self.task, len(self.facts.get("labels", [])))

    @abc.abstractmethod
    def cut(self, name: str) -> int:
        """Return how many examples of a file were longer than the context."""

    @property
    def remarks(self) -> Callable[[TrainConfig], list[str]]:
        """A function from the settings to what a user should know of them."""
        return self._remarks

    def _remarks(self, config: TrainConfig) -> list[str]:
        found = []
        for name, file in self.files.items():
            if count := self.cut(name):
                part = f"{count:,} of {len(file.examples):,} examples"
                if self.settings.long == "refuse":
                    raise UserError(
                        f"{part} in {file.path} are longer than the context of {self.model.block_size} tokens. Shorten "
                        "them, or give --long truncate."
                    )
                found.append(f"{part} in {file.path} are longer than the context and were cut.")
        if self.val is None:
            found.append("No --val, so nothing is evaluated on the way and no best checkpoint is known.")
        return found

    @property
    def new_model(self) -> Callable[[GPTConfig], GPT]:
        """A function from a shape to a model whose matrices are shapes."""
        return self._with_adapters

    def _with_adapters(self, config: GPTConfig) -> GPT:
        model = self.bare_model(config)
        if self.lora is not None:
            add_adapters(model, self.lora, self._trained_beside)
        return model

    @abc.abstractmethod
    def bare_model(self, config: GPTConfig) -> GPT:
        """Return the model without adapters."""

    @property
    def _trained_beside(self) -> tuple[str, ...]:
        """The parts that are trained as they are beside adapters: the head, and embeddings with new
        rows.
        """
        return ("task_head", *(("token_embedding", "head") if self.new_tokens else ()))

    @property
    def new_tokens(self) -> bool:
        """True if the vocabulary has entries that the source's has not."""
        return self.model.vocab_size > self.source_vocabulary

    def fit(self, source: Any) -> Mapping[str, torch.Tensor]:
        """Return the source's weights with rows for the new tokens; the last blocks are left out if
        fewer are wanted.

        Args:
            source: a `training.objective.Source`.

        Raises:
            UserError: the source has another tokenizer, or fewer blocks than are wanted.
        """
        layers = self.settings.layers
        if layers is not None and layers > source.config.n_layer:
            raise UserError(f"layers is {layers}, but {source.folder} has {source.config.n_layer} blocks.")
        kept = source.config.n_layer if layers is None else layers
        fitted: dict[str, torch.Tensor] = {}
        for name in source.tensors:
            part, _, rest = name.partition(".")
            if part == "blocks" and int(rest.partition(".")[0]) >= kept:
                continue
            if part == "norm" and kept < source.config.n_layer:
                continue
            tensor = source.tensors[name]
            if part in ("token_embedding", "head", "value_embeddings"):
                tensor = self._with_new_rows(name, tensor)
            fitted[name] = tensor
        return fitted

    def _with_new_rows(self, name: str, table: torch.Tensor) -> torch.Tensor:
        """Return a table of the vocabulary with rows for the new tokens: the mean row and a little
        noise, so that no new token is likelier than those that were learnt.
        """
        new = self.model.vocab_size - len(table)
        if not new:
            return table
        seed = seed_for(self.settings.seed, "new tokens", name)
        drawn = torch.randn(new, table.size(1), generator=torch.Generator().manual_seed(seed))
        table = table.float()
        return torch.cat((table, table.mean(0) + NOISE * table.std(0) * drawn))

    @property
    @abc.abstractmethod
    def writes_samples(self) -> bool:
        """True if each evaluation lets the model write a text."""

    @property
    @abc.abstractmethod
    def batches(self) -> Callable[..., Any]:
        """A function from the settings, `rank` and `world_size` to the batches of a process."""

    @abc.abstractmethod
    def windows(self, batches: Any, step: int) -> list[dict[str, Any]]:
        """Return the examples that this process reads in a step."""

    @abc.abstractmethod
    def measure(self, model: torch.nn.Module, name: str, batch_size: int, runtime: Runtime) -> Predictions:
        """Return what the scores of a file are computed from."""

    @abc.abstractmethod
    def validate(self, model: torch.nn.Module, config: TrainConfig, runtime: Runtime) -> dict[str, Loss]:
        """Return the loss and the scores of the validation examples."""
