"""What a model expects of a text, token by token: surprise, entropy, the likeliest tokens.

A text that is longer than the context is read in windows that overlap by half, so that each token
is predicted from at least half a context, as far as the text has so much before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gpt_research.base.errors import UserError
from gpt_research.evaluation.windows import sliding_windows
from gpt_research.inspection.readout import Readout, following_of, read_out
from gpt_research.inspection.watching import watch
from gpt_research.model.gpt import GPT


@dataclass(frozen=True)
class Predictions:
    """What a model expects of T tokens.

    `surprise` and `rank` are those of the token itself, given all before it; `entropy` and `top`
    are those of the prediction at the token, of the one after it.
    """

    tokens: np.ndarray
    """(T,) int64."""
    surprise: np.ndarray
    """(T,) float64: -ln p of each token in nats; nan for the first, which nothing predicts."""
    rank: np.ndarray
    """(T,) int64: how many tokens were likelier; -1 for the first."""
    entropy: np.ndarray
    """(T,) float64, in nats."""
    top: np.ndarray
    """(T, k) int64: the likeliest tokens, the likeliest first."""
    top_probability: np.ndarray
    """(T, k) float64."""
    windows: list[int]
    """The first token of each window in which the text was read."""

    @property
    def loss(self) -> float:
        """Mean surprise in nats; nan for a single token."""
        return float(self.surprise[1:].mean()) if len(self.surprise) > 1 else math.nan


def predict(model: GPT, tokens: Sequence[int] | np.ndarray, top: int = 5) -> Predictions:
    """Return what `model` expects of `tokens` (T,), of any length from 1 on.

    Raises:
        UserError: there is no token, one is outside of the vocabulary, or the model's output is not
            finite.
    """
    ids = checked(model, tokens)
    context = model.config.block_size
    spans = list(sliding_windows(len(ids), context, -(-context // 2))) or [(0, 0, len(ids))]
    parts = []
    for begin, first, end in spans:
        piece = ids[begin:end]
        read = read_out(model, watch(model, piece[None]).hidden[0], following_of(piece), top)
        # The first window also shows what is expected after token 0, which nothing predicts.
        parts.append(_of_tokens(read, 0 if begin == 0 else first - begin))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Predictions(ids.cpu().numpy(), **columns, windows=[begin for begin, _, _ in spans])


def checked(model: GPT, tokens: Sequence[int] | np.ndarray) -> torch.Tensor:
    """Return tokens as a tensor (T,) on the model's device.

    Raises:
        UserError: there is no token, or one is outside of the vocabulary.
    """
    ids = torch.as_tensor(np.asarray(tokens, dtype=np.int64), device=model.token_embedding.weight.device)
    if not len(ids):
        raise UserError("The text has no token. Give at least one.")
    outside = ids[(ids < 0) | (ids >= model.config.vocab_size)]
    if len(outside):
        raise UserError(
            f"Token id {int(outside[0])} is outside the vocabulary (0 to {model.config.vocab_size - 1}). "
            "Use the tokenizer that the model was trained with."
        )
    return ids


def fitting(model: GPT, tokens: Sequence[int] | np.ndarray) -> torch.Tensor:
    """Return tokens as `checked` does, if they fit the context.

    Raises:
        UserError: as `checked` does, or there are more tokens than the context holds.
    """
    ids = checked(model, tokens)
    if len(ids) > model.config.block_size:
        raise UserError(
            f"The text has {len(ids):,} tokens, and the model looks at {model.config.block_size:,} at most. Shorten it."
        )
    return ids


def _of_tokens(read: Readout, first: int) -> dict[str, np.ndarray]:
    """Return the columns of `Predictions` for the tokens from `first` on: what met a token stands
    at the one before.
    """
    columns = {
        "surprise": np.append(np.nan, read.surprise[:-1]),
        "rank": np.append(-1, read.rank[:-1]),
        "entropy": read.entropy,
        "top": read.top,
        "top_probability": read.top_probability,
    }
    return {name: column[first:] for name, column in columns.items()}
