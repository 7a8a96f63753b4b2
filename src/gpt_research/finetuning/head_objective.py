"""What a fine-tuning with a head learns: classes, numbers or the best of some answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt_research.config import TrainConfig
from gpt_research.evaluation.labelled import value_of
from gpt_research.finetuning.batches import HeadBatches, NumberedExamples, Sequences, head_batch
from gpt_research.finetuning.examples import Classes, ExampleFile
from gpt_research.finetuning.forms import HeadForm
from gpt_research.finetuning.models import HeadedGPT, task_losses
from gpt_research.finetuning.objective import Finetuning, Predictions
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.validation import Loss

if TYPE_CHECKING:
    from gpt_research.base.runtime import Runtime


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
        size = self.batch_size, config.micro_batch, config.seed, rank, world_size
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
        scores = {name: value_of(metric, measured) for name, metric in self.metrics.items() if name != "loss"}
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
        steps = self.batch_size // (batches.order.micro_batch * batches.order.world_size)
        chosen = [number for micro in range(steps) for number in batches.order.chosen(step, micro)]
        return [
            {"example": self.train.examples[n].where, "begins": self.train.examples[n].texts[0][:200]} for n in chosen
        ]
