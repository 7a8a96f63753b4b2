"""The validation loss: nats per token, perplexity and bits per byte.

Bits per byte = nats of all targets / ln 2 / bytes of their text. It compares models with different
tokenizers. `evaluation.statistics` has the same scores with standard errors, from sums by document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gpt_research.base.runtime import Runtime
from gpt_research.data.loader import evaluation_batches
from gpt_research.data.shards import TokenFiles


@dataclass(frozen=True)
class Loss:
    """Nats, tokens and bytes, summed over targets. The sum of two is the loss over both."""

    nats: float
    tokens: int
    bytes: int
    """0 if the targets are no text, such as the labels of examples."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Further scores of what the loss is of, by name, such as the accuracy; a sum has none."""

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        return math.inf if self.loss >= 700 else math.exp(self.loss)  # exp(710) overflows, and nan stays nan

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)


def total(losses: Mapping[str, Loss]) -> Loss:
    """Return the loss over all corpora together."""
    if len(losses) == 1:
        return next(iter(losses.values()))
    return sum(losses.values(), Loss(0.0, 0, 0))


def as_metrics(losses: Mapping[str, Loss], averaged: Mapping[str, Loss]) -> dict[str, Any]:
    """Return the numbers of an evaluation for metrics.jsonl, with those of the averaged weights if
    there are any.
    """
    values: dict[str, Any] = {}
    for suffix, of in (("", losses), ("_ema", averaged)):
        if of:
            overall = total(of)
            values |= {f"val_loss{suffix}": overall.loss, f"val_bits_per_byte{suffix}": overall.bits_per_byte}
            values |= {f"val_{name}{suffix}": score for name, score in overall.scores.items()}
    corpora = {
        name: {"loss": loss.loss, "bits_per_byte": loss.bits_per_byte, **loss.scores} for name, loss in losses.items()
    }
    return {**values, "corpora": corpora}


def validate(
    model: torch.nn.Module,
    splits: Mapping[str, TokenFiles],
    max_tokens: int,
    batch_size: int,
    byte_lengths: torch.Tensor,
    runtime: Runtime,
) -> dict[str, Loss]:
    """Return the loss over about `max_tokens` of each split; each process measures its share."""
    rank, world_size = runtime.rank, runtime.world_size
    return {
        name: measure(model, evaluation_batches(files, max_tokens, batch_size, rank, world_size), byte_lengths, runtime)
        for name, files in splits.items()
    }


@torch.no_grad()
def measure(
    model: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    byte_lengths: torch.Tensor,
    runtime: Runtime,
) -> Loss:
    """Return the loss over `batches` of tokens and targets (B, T), summed over all processes.

    Args:
        byte_lengths: (vocab_size,) bytes of text of each token, on the runtime's device.
    """
    model.eval()
    # Sums over millions of tokens need float64, which mps lacks.
    sums = torch.zeros(3, dtype=torch.float64, device=runtime.device if runtime.device.type != "mps" else "cpu")
    for tokens, targets in batches:
        tokens, targets = tokens.to(runtime.device), targets.to(runtime.device)
        with runtime.autocast():
            nats = model(tokens, targets)
        counted = targets[targets >= 0]
        sums[0] += nats.to(sums.device)
        sums[1] += len(counted)
        sums[2] += byte_lengths[counted].sum().to(sums.device)
    nats, tokens_seen, bytes_seen = runtime.sum_over_ranks(sums).tolist()
    return Loss(nats, int(tokens_seen), int(bytes_seen))
