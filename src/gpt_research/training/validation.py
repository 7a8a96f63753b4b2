"""The loss of a model on token batches, in nats, as perplexity and in bits per byte.

It takes any iterable of batches, so the trainer and the evaluation of a split both use it.
Bits per byte = nats of all targets / ln 2 / bytes of their text. Models with different tokenizers can be
compared by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from gpt_research.base.runtime import Runtime


@dataclass(frozen=True)
class Loss:
    """Nats, tokens and bytes summed over targets. Add two of them to get the loss over both."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)


def total(losses: Mapping[str, Loss]) -> Loss:
    """Return the loss over all corpora together."""
    return sum(losses.values(), Loss(0.0, 0, 0))


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
    sums = torch.zeros(3, dtype=torch.float64, device=runtime.device if runtime.device.type != "mps" else "cpu")
    for tokens, targets in batches:
        tokens, targets = tokens.to(runtime.device), targets.to(runtime.device)
        with runtime.autocast():
            nats = model(tokens, targets)
        counted = targets[targets >= 0]
        sums += torch.stack((nats.double(), torch.tensor(len(counted)).to(nats), byte_lengths[counted].sum())).to(sums)
    nats, tokens_seen, bytes_seen = runtime.sum_over_ranks(sums).tolist()
    return Loss(nats, int(tokens_seen), int(bytes_seen))
