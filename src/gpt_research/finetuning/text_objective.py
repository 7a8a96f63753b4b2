"""What a fine-tuning on completions or conversations learns: the answers, in packed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt_research.config import TrainConfig
from gpt_research.finetuning.batches import NumberedExamples
from gpt_research.finetuning.models import PackedGPT
from gpt_research.finetuning.objective import Finetuning, Predictions
from gpt_research.finetuning.text_forms import PackedBatch, TextExample, TextForm, packed, packed_batch
from gpt_research.model.gpt import GPT
from gpt_research.model.parts.attention import CausalSelfAttention
from gpt_research.model_config import GPTConfig
from gpt_research.training.validation import Loss

if TYPE_CHECKING:
    from gpt_research.base.runtime import Runtime


class PackedBatches:
    """Batches of packed rows. The loss of a step is divided by the targets of its rows."""

    def __init__(self, rows: Sequence[Sequence[TextExample]], order: NumberedExamples) -> None:
        self.rows, self.order = rows, order
        self.counts = [sum(int((example.targets >= 0).sum()) for example in row) for row in rows]
        self.tokens_before, self.passes_before = order.tokens_before, order.passes_before

    def divisor(self, step: int) -> float:
        """Return the targets of a step over all ranks."""
        return sum(self.counts[row] for row in self.order.of_step(step))

    def inputs(self, step: int, micro_step: int) -> PackedBatch:
        """Return a micro-batch."""
        return packed_batch([self.rows[row] for row in self.order.chosen(step, micro_step)])

    def sequences(self, step: int, micro_step: int) -> torch.Tensor:
        """Return the tokens of a micro-batch."""
        return self.inputs(step, micro_step).tokens


@dataclass(frozen=True)
class TextObjective(Finetuning):
    """Of complete and chat: the loss is the language model's, on the answers alone."""

    @property
    def writes_samples(self) -> bool:
        return self.task == "complete"

    @property
    def facts(self) -> dict[str, Any]:
        return {"rows": self.rows}

    @property
    def rows(self) -> int:
        return len(self.packed_rows)

    @cached_property
    def examples(self) -> dict[str, list[TextExample]]:
        """The tokens of the examples of each file."""
        form = TextForm(self.task, self.tokenizer, self.model.block_size)
        return {name: [form.example(example) for example in file.examples] for name, file in self.files.items()}

    @cached_property
    def packed_rows(self) -> list[list[int]]:
        """The training examples of each row."""
        lengths = [len(example.tokens) for example in self.examples["train"]]
        model = self.bare_model(self.model)
        # An attention of a plugin need not know of masks.
        if all(type(block.attention) is CausalSelfAttention for block in model.blocks):
            return packed(lengths, self.model.block_size, self.settings.seed)
        return [[number] for number in range(len(lengths))]

    def cut(self, name: str) -> int:
        return sum(example.cut for example in self.examples[name])

    def bare_model(self, config: GPTConfig) -> GPT:
        return PackedGPT(config)

    @property
    def batches(self) -> Callable[..., PackedBatches]:
        """A function from the settings, `rank` and `world_size` to the batches of a process."""
        return self._batches

    def _batches(self, config: TrainConfig, rank: int, world_size: int) -> PackedBatches:
        rows = [[self.examples["train"][number] for number in row] for row in self.packed_rows]
        lengths = [sum(len(example.tokens) for example in row) for row in rows]
        size = self.batch_size, config.micro_batch, config.seed, rank, world_size
        return PackedBatches(rows, NumberedExamples(lengths, *size, self.train.path.name))

    def validate(self, model: torch.nn.Module, config: TrainConfig, runtime: Runtime) -> dict[str, Loss]:
        if self.val is None:
            return {}
        measured = self.measure(model, "val", config.micro_batch, runtime)
        sums = {name: measured[name].sum() for name in ("nats", "tokens", "bytes")}
        scores = {"exact": float(measured["correct"].mean())}
        return {"val": Loss(float(sums["nats"]), int(sums["tokens"]), int(sums["bytes"]), scores)}

    @torch.no_grad()
    def measure(self, model: torch.nn.Module, name: str, batch_size: int, runtime: Runtime) -> Predictions:
        """Return nats, tokens and bytes of the answers of each example, and whether each token of
        them is the likeliest, so that greedy generation writes the answer.
        """
        model.eval()
        examples = self.examples[name]
        by_length = sorted(range(len(examples)), key=lambda number: -len(examples[number].tokens))
        nats, hits = np.zeros(len(examples)), np.zeros(len(examples))
        counts = np.array([int((example.targets >= 0).sum()) for example in examples])
        for first in range(0, len(by_length), batch_size):
            chosen = by_length[first : first + batch_size]
            batch = packed_batch([[examples[number]] for number in chosen])
            with runtime.autocast():
                measured = model(*(tensor.to(runtime.device) for tensor in batch)).double().cpu().numpy()
            ends = np.cumsum(counts[chosen])[:-1]
            nats[chosen] = [part.sum() for part in np.split(measured[0], ends)]
            hits[chosen] = [part.sum() for part in np.split(measured[1], ends)]
        lengths = self.tokenizer.byte_lengths
        size = np.array([int(lengths[example.targets[example.targets >= 0]].sum()) for example in examples])
        return {"nats": nats, "tokens": counts, "bytes": size, "correct": hits == counts}

    def windows(self, batches: PackedBatches, step: int) -> list[dict[str, Any]]:
        """Return the examples that this process reads in a step."""
        order = batches.order
        steps = self.batch_size // (order.micro_batch * order.world_size)
        rows = [row for micro in range(steps) for row in order.chosen(step, micro)]
        return [{"example": self.train.examples[n].where} for row in rows for n in self.packed_rows[row]]
