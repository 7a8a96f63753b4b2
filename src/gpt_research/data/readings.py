"""Which steps of a run read which tokens: the inverse of `DataLoader.windows`.

The order of samples is a permutation that can be computed backwards (`order.SampleOrder`), so no
step has to be replayed. Knows nothing about runs, models or text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.data.loader import PASS_SHIFT, DataLoader


@dataclass(frozen=True)
class Stretch:
    """Some tokens of one document of the training split that follow one another in a shard."""

    corpus: str
    shard: int
    """Number of the shard in its corpus and split."""
    start: int
    stop: int
    """Tokens of the shard, from `start` to before `stop`."""


@dataclass(frozen=True, order=True)
class Reading:
    """A window that a step read, and how much of a stretch it held."""

    step: int
    """Counted from 1."""
    row: int
    """The row of the window among those of the step, over all ranks and micro-batches."""
    epoch: int
    """The pass over the corpus, counted from 0."""
    first: int
    last: int
    """The tokens of the stretch that the window held, from `first` to before `last`, counted from
    its start."""
    in_window: int
    """The place in the window of the first of these tokens."""


def readings(loader: DataLoader, stretches: Sequence[Stretch], steps: range) -> list[list[Reading]]:
    """Return for each stretch when it was read, in the order of the steps.

    If a window of a pass held the whole stretch, only that counts for this pass. If none did, the
    parts are listed that its windows held. Windows share one token, so parts may too.

    Args:
        loader: any rank's.
        steps: those that are looked at, counted from 1.
    """
    samples = range((steps.start - 1) * loader.samples_per_step, (steps.stop - 1) * loader.samples_per_step)
    found: list[list[Reading]] = [[] for _ in stretches]
    for corpus in dict.fromkeys(stretch.corpus for stretch in stretches):
        own = np.array([number for number, stretch in enumerate(stretches) if stretch.corpus == corpus])
        for epoch in loader.order.epochs(corpus, samples):
            held = _held(loader, corpus, [stretches[number] for number in own], epoch)
            read_at = loader.order.samples_of(corpus, epoch, held[1])
            inside = (read_at >= samples.start) & (read_at < samples.stop)
            which, _, first, last, in_window = (column[inside].tolist() for column in held)
            for number, sample, *part in zip(which, read_at[inside].tolist(), first, last, in_window, strict=True):
                step, row = divmod(sample, loader.samples_per_step)
                found[own[number]].append(Reading(step + 1, row, epoch, *part))
    return [sorted(each) for each in found]


def _held(loader: DataLoader, corpus: str, stretches: Sequence[Stretch], epoch: int) -> tuple[np.ndarray, ...]:
    """Return the windows of a pass that hold tokens of stretches of a corpus: columns of one row
    for each, with the index of the stretch, the window, the first token of the stretch and the one
    after the last that it holds, and the place of the first in the window.
    """
    index, T = loader.order.names.index(corpus), loader.block_size
    files = loader.files[index]
    shard = np.array([stretch.shard for stretch in stretches])
    start = np.array([stretch.start for stretch in stretches])
    length = np.array([stretch.stop for stretch in stretches]) - start
    if loader.shuffle_documents:
        # The tokens of a document follow one another in every pass.
        for number in np.unique(shard):
            mine = shard == number
            start[mine] = loader.document_order(index, int(number), epoch).places(start[mine])
    count = files.first_window[shard + 1] - files.first_window[shard]
    shift = epoch * PASS_SHIFT % (files.slack[shard] + 1)
    # A window holds T + 1 tokens, so the last one of a window is the first one of the next.
    at = start - shift
    low, high = np.maximum(0, -((T - at) // T)), np.minimum(count - 1, (at + length - 1) // T)
    begins_in = np.minimum(at // T, count - 1)  # the last window that holds the first token
    is_whole = (at >= 0) & (at + length <= begins_in * T + T + 1)
    # A single token that two windows share is whole in both.
    low = np.where(is_whole & (length > 1), begins_in, low)
    high = np.where(is_whole & (length > 1), begins_in, high)
    each = np.maximum(0, high - low + 1)
    which = np.repeat(np.arange(len(stretches)), each)
    window = np.arange(len(which)) - np.repeat(np.cumsum(each) - each, each) + low[which]
    begin = window * T
    first = np.maximum(at[which], begin) - at[which]
    last = np.minimum(at[which] + length[which], begin + T + 1) - at[which]
    return which, files.first_window[shard[which]] + window, first, last, at[which] + first - begin
