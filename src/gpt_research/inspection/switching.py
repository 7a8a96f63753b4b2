"""What changes if parts of a model are switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gpt_research.inspection.predictions import fitting
from gpt_research.inspection.readout import Readout, following_of, read_out
from gpt_research.inspection.watching import Off, watch
from gpt_research.model.gpt import GPT

BATCH_TOKENS = 2048
"""Tokens of the passes that are run together."""


@dataclass(frozen=True)
class SwitchedOff:
    """The predictions at each token of a text, with and without some parts of the model."""

    before: Readout
    after: Readout
    """Its `kl` is KL(before || after)."""


@dataclass(frozen=True)
class Effects:
    """What each part does: the change of a text's mean loss, in nats, if it alone is off."""

    loss: float
    """With all parts on."""
    heads: np.ndarray
    """(L, H)."""
    attention: np.ndarray
    """(L,)."""
    mlps: np.ndarray
    """(L,)."""
    layers: np.ndarray
    """(L,)."""


def switch_off(model: GPT, tokens: Sequence[int] | np.ndarray, off: Off, top: int = 5) -> SwitchedOff:
    """Return what `model` predicts of `tokens`, and what it predicts without the parts in `off`.

    Raises:
        UserError: the tokens do not fit, or a part does not exist.
    """
    ids = fitting(model, tokens)
    whole, without = watch(model, ids.repeat(2, 1), off=[Off(), off]).hidden
    following = following_of(ids)
    return SwitchedOff(
        read_out(model, whole, following, top), read_out(model, without, following, top, reference=whole)
    )


def effects(model: GPT, tokens: Sequence[int] | np.ndarray) -> Effects:
    """Return what each head, attention, feed-forward network and block does to the loss.

    Raises:
        UserError: the tokens do not fit, or there is only one.
    """
    ids = fitting(model, tokens)
    blocks, heads = range(model.config.n_layer), range(model.config.n_head)
    off = [
        Off(),
        *(Off(heads=[(block, head)]) for block in blocks for head in heads),
        *(Off(attention=[block]) for block in blocks),
        *(Off(mlps=[block]) for block in blocks),
        *(Off(layers=[block]) for block in blocks),
    ]
    losses = _losses(model, ids, off)
    changes = losses[1:] - losses[0]
    of_heads = len(blocks) * len(heads)
    others = changes[of_heads:].reshape(3, len(blocks))
    return Effects(float(losses[0]), changes[:of_heads].reshape(len(blocks), len(heads)), *others)


@torch.no_grad()
def _losses(model: GPT, ids: torch.Tensor, off: Sequence[Off]) -> np.ndarray:
    """Return the mean loss of the tokens (T,) in each pass."""
    rows = max(1, BATCH_TOKENS // len(ids))
    losses = []
    for begin in range(0, len(off), rows):
        part = off[begin : begin + rows]
        for hidden in watch(model, ids.repeat(len(part), 1), off=part).hidden:
            losses.append(read_out(model, hidden, following_of(ids), top=1).loss)
    return np.array(losses)
