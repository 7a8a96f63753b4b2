"""What a fine-tuning learns, as the training loop takes it (`training.objective.Objective`).

`Finetuning` has what all tasks share: the shape, the tokenizer with new special tokens, and the
weights that the run begins with. `HeadObjective` is that of the tasks with a head;
`texts.TextObjective` that of completions and conversations.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.seeds import seed_for
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.labelled import METRICS
from gpt_research.finetuning.batches import HeadBatches, NumberedExamples, Sequences, head_batch
from gpt_research.finetuning.examples import Classes, ExampleFile
from gpt_research.finetuning.forms import HeadForm
from gpt_research.finetuning.models import HeadedGPT, task_losses
from gpt_research.finetuning.settings import FinetuneSettings, Task
from gpt_research.finetuning.step import ExampleStep
from gpt_research.model.adapters import Lora, add_adapters
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.objective import NumberedBatches
from gpt_research.training.step import TrainStep
from gpt_research.training.validation import Loss

if TYPE_CHECKING:
    from gpt_research.base.runtime import Runtime
    from gpt_research.training.objective import Source

NOISE = 0.1
"""Spread of new rows of an embedding around the mean row, as a share of the rows' spread."""
Predictions = Mapping[str, np.ndarray]
"""What was measured on each example, by the names of columns."""


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
    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a later command needs to know of the task, for the lineage."""

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

    def fit(self, source: Source) -> Mapping[str, torch.Tensor]:
        """Return the source's weights with rows for the new tokens; the last blocks are left out if
        fewer are wanted.

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
    def batches(self) -> Callable[..., NumberedBatches]:
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


@dataclass(frozen=True)
class HeadObjective(Finetuning):
    """Of a task whose answer comes from a head."""

    classes: Classes | None = None
    """The classes of classify and pairs."""
    scale: tuple[float, float] = (0.0, 1.0)
    """The least and the largest label of a similarity; the head predicts the share between."""

    @property
    def writes_samples(self) -> bool:
        return False

    @property
    def facts(self) -> dict[str, Any]:
        named = {"labels": list(self.classes.names)} if self.classes is not None else {}
        return {**named, "scale": list(self.scale)} if self.task == "similarity" else named

    @cached_property
    def sequences(self) -> dict[str, list[Sequences]]:
        """The sequences of each file."""
        form = HeadForm(self.task, self.tokenizer, self.model.block_size)
        return {name: [form.sequences(example) for example in file.examples] for name, file in self.files.items()}

    def cut(self, name: str) -> int:
        return sum(example.cut for example in self.sequences[name])

    def bare_model(self, config: GPTConfig) -> GPT:
        outputs = len(self.classes.names) if self.classes is not None else 1
        return HeadedGPT(config, self.task, outputs, with_lm=self.settings.lm_weight > 0)

    def _remarks(self, config: TrainConfig) -> list[str]:
        rare = self.classes.rare(self.train) if self.classes is not None else ""
        return [*super()._remarks(config), *([rare] if rare else [])]

    @property
    def batches(self) -> Callable[..., HeadBatches]:
        """A function from the settings, `rank` and `world_size` to the batches of a process."""
        return self._batches

    def _batches(self, config: TrainConfig, rank: int, world_size: int) -> HeadBatches:
        sequences, settings = self.sequences["train"], self.settings
        size = settings.batch_size, config.micro_batch, config.seed, rank, world_size
        order = NumberedExamples([each.length for each in sequences], *size, self.train.path.name)
        return HeadBatches(sequences, self.labels(self.train), order, settings.lm_weight)

    def labels(self, file: ExampleFile) -> list[float]:
        """Return the label of each example as the head has it."""
        if self.classes is not None:
            index = {name: number for number, name in enumerate(self.classes.names)}
            return [index[example.label] for example in file.examples]
        if self.task == "similarity":
            low, high = self.scale
            return [float((example.label - low) / ((high - low) or 1.0)) for example in file.examples]
        return [example.label for example in file.examples]

    def validate(self, model: torch.nn.Module, config: TrainConfig, runtime: Runtime) -> dict[str, Loss]:
        if self.val is None:
            return {}
        measured = self.measure(model, "val", config.micro_batch, runtime)
        nats = float(measured["nats"].sum())
        scores = {
            name: metric.estimate(measured).value for name, metric in METRICS[self.task].items() if name != "loss"
        }
        return {"val": Loss(nats, len(measured["nats"]), 0, scores)}

    @torch.no_grad()
    def measure(self, model: torch.nn.Module, name: str, batch_size: int, runtime: Runtime) -> Predictions:
        """Return label, prediction, nats and whether it is correct, of each example of a file."""
        model.eval()
        examples, labels = self.sequences[name], self.labels(self.files[name])
        # Every process measures all examples, because a sharded model needs all of them in each
        # forward pass. Examples of one length fill a batch without padding.
        by_length = sorted(range(len(examples)), key=lambda number: -examples[number].length)
        nats, predicted = np.zeros(len(examples)), np.zeros(len(examples))
        for first in range(0, len(by_length), batch_size):
            chosen = by_length[first : first + batch_size]
            batch = head_batch([examples[n] for n in chosen], [labels[n] for n in chosen])
            with runtime.autocast():
                scores = model(*(tensor.to(runtime.device) for tensor in batch))
            nats[chosen] = task_losses(self.task, scores, batch.labels.to(scores.device)).double().cpu().numpy()
            predicted[chosen] = (scores if scores.dim() == 1 else scores.argmax(-1)).double().cpu().numpy()
        found = {"label": np.asarray(labels, np.float64), "predicted": predicted, "nats": nats}
        if self.task != "similarity":
            return {**found, "correct": predicted == found["label"]}
        low, high = self.scale
        label, said = (low + (high - low) * found[name] for name in ("label", "predicted"))
        return {"label": label, "predicted": said, "nats": nats, "squared_error": (label - said) ** 2}

    def windows(self, batches: HeadBatches, step: int) -> list[dict[str, Any]]:
        """Return the examples that this process reads in a step."""
        steps = self.settings.batch_size // (batches.order.micro_batch * batches.order.world_size)
        chosen = [number for micro in range(steps) for number in batches.order.chosen(step, micro)]
        return [
            {"example": self.train.examples[n].where, "begins": self.train.examples[n].texts[0][:200]} for n in chosen
        ]
