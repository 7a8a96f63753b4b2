"""From hidden states to what a model expects: surprise, rank, entropy, the likeliest tokens.

Shapes: T positions, width C, V entries of the vocabulary, k likeliest tokens. Everything is in
nats.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from gpt_research.base.errors import not_finite
from gpt_research.model.gpt import GPT

LOGIT_BYTES = 16 << 20
"""Bytes of logits that are held at a time."""


@dataclass(frozen=True)
class Readout:
    """The predictions at T positions, and how they meet the tokens that follow."""

    surprise: np.ndarray
    """(T,) float64: -ln p of the token that follows; nan if none is given."""
    rank: np.ndarray
    """(T,) int64: the tokens that were likelier than the one that follows; -1 if none is given."""
    entropy: np.ndarray
    """(T,) float64: of the prediction."""
    top: np.ndarray
    """(T, k) int64: the likeliest tokens, the likeliest first."""
    top_probability: np.ndarray
    """(T, k) float64."""
    kl: np.ndarray
    """(T,) float64: KL(reference || prediction); 0 without a reference."""

    @property
    def loss(self) -> float:
        """Mean surprise; nan if no token follows."""
        scored = self.surprise[~np.isnan(self.surprise)]
        return float(scored.mean()) if len(scored) else float("nan")


@torch.no_grad()
def read_out(
    model: GPT, hidden: torch.Tensor, following: torch.Tensor, top: int, reference: torch.Tensor | None = None
) -> Readout:
    """Return what `model` predicts from normed hidden states (T, C), in fp32.

    Args:
        following: (T,) the token that follows each position; -1 if it is not known.
        top: how many of the likeliest tokens to return.
        reference: (T, C) hidden states whose predictions are compared with these.

    Raises:
        UserError: the model's output is not finite.
    """
    top = min(top, model.config.vocab_size)
    rows = max(1, LOGIT_BYTES // (4 * model.config.padded_vocab_size))
    parts = []
    for begin in range(0, len(hidden), rows):
        piece = slice(begin, begin + rows)
        log_p = _log_probabilities(model, hidden[piece])
        expected = None if reference is None else _log_probabilities(model, reference[piece])
        parts.append(_read(log_p, following[piece].to(log_p.device), top, expected))
    joined = (np.concatenate([part[i] for part in parts]) for i in range(len(fields(Readout))))
    return Readout(*joined)


def following_of(tokens: torch.Tensor) -> torch.Tensor:
    """Return the token that follows each of `tokens` (T,); -1 after the last."""
    return torch.cat((tokens[1:], tokens.new_full((1,), -1)))


def _log_probabilities(model: GPT, hidden: torch.Tensor) -> torch.Tensor:
    return model.logits(hidden).float().log_softmax(-1)  # (T, V)


def _read(
    log_p: torch.Tensor, following: torch.Tensor, top: int, expected: torch.Tensor | None
) -> tuple[np.ndarray, ...]:
    if not torch.isfinite(log_p).all():
        raise not_finite("it predicts nothing")
    p = log_p.exp()
    known = following >= 0
    chosen = log_p.gather(1, following.clamp(min=0)[:, None])
    surprise = torch.where(known, -chosen[:, 0].double(), torch.nan)
    rank = torch.where(known, (log_p > chosen).sum(1), -1)
    entropy = -(p * log_p).sum(1).double()
    best = log_p.topk(top, dim=1)
    kl = torch.zeros(len(log_p)) if expected is None else (expected.exp() * (expected - log_p)).sum(1).clamp(min=0)
    columns = surprise, rank, entropy, best.indices, best.values.double().exp(), kl.double()
    return tuple(column.cpu().numpy() for column in columns)
