"""The batches of fine-tuning: a pure function of (seed, step), as those of pretraining are.

The examples of a run are numbered: each pass over them has an order of its own, and the passes
follow on each other without a gap. A step takes the next `batch_size` of them, the longest first,
so that a micro-batch has examples of much the same length and little padding; ranks take turns by
micro-batches. So a run that is resumed reads what an uninterrupted one reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from gpt_research.base.seeds import seed_for


@dataclass(frozen=True)
class Sequences:
    """The sequences of one example; each ends with the extract token."""

    tokens: list[list[int]]
    cut: bool
    """True if the texts were longer than the context."""

    @property
    def length(self) -> int:
        """Tokens of all sequences."""
        return sum(map(len, self.tokens))


class HeadBatch(NamedTuple):
    """Examples for a model with a head: S sequences of B examples, padded on the right to T."""

    tokens: torch.Tensor
    """(S, T) int64."""
    targets: torch.Tensor
    """(S, T) int64: the next token; -1 after the extract token."""
    ends: torch.Tensor
    """(S,) int64: the place of the extract token."""
    owners: torch.Tensor
    """(S,) int64: the example of a sequence."""
    slots: torch.Tensor
    """(S,) int64: the number of a sequence in its example."""
    labels: torch.Tensor
    """(B,) int64, or float32 for similarity."""
    lm_scale: torch.Tensor
    """Scalar: factor of the summed language-model loss, so that it is its mean over the tokens of
    the step, weighted, for each example of the step."""


class NumberedExamples:
    """The order of the examples of a run, for one rank among `world_size`."""

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        micro_batch: int,
        seed: int,
        rank: int,
        world_size: int,
        name: str,
    ) -> None:
        """Fix the order.

        Args:
            lengths: tokens of each example.
            name: of the examples, for reports.
        """
        self.lengths, self.name, self.seed = np.asarray(lengths, np.int64), name, seed
        self.batch_size, self.micro_batch, self.rank, self.world_size = batch_size, micro_batch, rank, world_size
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def of_step(self, step: int) -> list[int]:
        """Return the examples of a step over all ranks, the longest first."""
        chosen = [self._at(number) for number in range(step * self.batch_size, (step + 1) * self.batch_size)]
        return sorted(chosen, key=lambda number: -self.lengths[number])

    def chosen(self, step: int, micro_step: int) -> list[int]:
        """Return the examples of a micro-batch of this rank."""
        first = (micro_step * self.world_size + self.rank) * self.micro_batch
        return self.of_step(step)[first : first + self.micro_batch]

    def tokens_before(self, step: int) -> int:
        """Return how many tokens the steps before `step` read over all ranks."""
        epochs, rest = divmod(step * self.batch_size, len(self.lengths))
        return epochs * self._all_tokens + int(self.lengths[self._in_epoch(epochs)[:rest]].sum())

    def passes_before(self, step: int) -> dict[str, float]:
        """Return how often the steps before `step` read the examples."""
        return {self.name: step * self.batch_size / len(self.lengths)}

    @cached_property
    def _all_tokens(self) -> int:
        return int(self.lengths.sum())

    def _at(self, number: int) -> int:
        epoch, place = divmod(number, len(self.lengths))
        return int(self._in_epoch(epoch)[place])

    def _in_epoch(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            stream = np.random.default_rng(seed_for(self.seed, "examples", epoch))
            self._epoch, self._order = epoch, stream.permutation(len(self.lengths))
        return self._order


class HeadBatches:
    """Batches of examples for a model with a head."""

    def __init__(
        self, examples: Sequence[Sequences], labels: Sequence[float], order: NumberedExamples, lm_weight: float
    ) -> None:
        self.examples, self.labels, self.order, self.lm_weight = examples, labels, order, lm_weight
        self.tokens_before, self.passes_before = order.tokens_before, order.passes_before

    def divisor(self, step: int) -> float:
        """Return the examples of a step over all ranks."""
        return self.order.batch_size

    def inputs(self, step: int, micro_step: int) -> HeadBatch:
        """Return a micro-batch."""
        # Each sequence has one token more than targets.
        targets = sum(self.examples[n].length - len(self.examples[n].tokens) for n in self.order.of_step(step))
        lm_scale = self.lm_weight * self.order.batch_size / targets
        chosen = self.order.chosen(step, micro_step)
        return head_batch([self.examples[n] for n in chosen], [self.labels[n] for n in chosen], lm_scale)

    def sequences(self, step: int, micro_step: int) -> torch.Tensor:
        """Return the tokens of a micro-batch."""
        return self.inputs(step, micro_step).tokens


def head_batch(examples: Sequence[Sequences], labels: Sequence[float], lm_scale: float = 0.0) -> HeadBatch:
    """Return examples as one batch, padded to the longest sequence."""
    rows = [(owner, slot, tokens) for owner, e in enumerate(examples) for slot, tokens in enumerate(e.tokens)]
    longest = max(len(tokens) for _, _, tokens in rows)
    tokens = np.zeros((len(rows), longest), np.int64)
    targets = np.full((len(rows), longest), -1, np.int64)
    for row, (_, _, sequence) in enumerate(rows):
        tokens[row, : len(sequence)] = sequence
        targets[row, : len(sequence) - 1] = sequence[1:]
    owners, slots, sequences = zip(*rows, strict=True)
    kind = torch.float32 if any(isinstance(label, float) for label in labels) else torch.int64
    return HeadBatch(
        torch.from_numpy(tokens),
        torch.from_numpy(targets),
        torch.tensor([len(sequence) - 1 for sequence in sequences]),
        torch.tensor(owners),
        torch.tensor(slots),
        torch.tensor(labels, dtype=kind),
        torch.tensor(lm_scale, dtype=torch.float32),
    )
