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
        own = [number for number, stretch in enumerate(stretches) if stretch.corpus == corpus]
        for epoch in loader.order.epochs(corpus, samples):
            held = [(number, *part) for number in own for part in _parts(loader, stretches[number], epoch)]
            windows = np.array([part[1] for part in held], dtype=np.int64)
            read_at = loader.order.samples_of(corpus, epoch, windows).tolist()
            for (number, _, first, last, in_window), sample in zip(held, read_at, strict=True):
                if sample in samples:
                    step, row = divmod(sample, loader.samples_per_step)
                    found[number].append(Reading(step + 1, row, epoch, first, last, in_window))
    return [sorted(each) for each in found]


def _parts(loader: DataLoader, stretch: Stretch, epoch: int) -> list[tuple[int, int, int, int]]:
    """Return the windows of a pass that hold tokens of a stretch: the window, the first token and
    the one after the last that it holds, and the place of the first in the window.
    """
    corpus, T = loader.order.names.index(stretch.corpus), loader.block_size
    files, length = loader.files[corpus], stretch.stop - stretch.start
    first, end = files.first_window[stretch.shard : stretch.shard + 2].tolist()
    start = stretch.start
    if loader.shuffle_documents:
        # The tokens of a document follow one another in every pass.
        start = int(loader.document_order(corpus, stretch.shard, epoch).places(np.array([start]))[0])
    shift = epoch * PASS_SHIFT % (int(files.slack[stretch.shard]) + 1)
    # A window holds T + 1 tokens, so the last one of a window is the first one of the next.
    low = max(0, -(-(start - shift - T) // T))
    high = min(end - first - 1, (start + length - 1 - shift) // T)
    parts = []
    for number in range(low, high + 1):
        begin = number * T + shift
        held_from, held_to = max(start, begin), min(start + length, begin + T + 1)
        parts.append((first + number, held_from - start, held_to - start, held_from - begin))
    whole = [part for part in parts if part[1:3] == (0, length)]
    return whole or parts
