"""Training a tokenizer on the texts themselves, if none is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.filters.catalogue import chosen_for
from gpt_research.preprocessing.filters.chain import filtered
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.stages.stage import ReadingStage, size_of_texts, splits_of
from gpt_research.preprocessing.text.batches import clean_batches
from gpt_research.preprocessing.text.duplicates import KnownTexts, text_hashes

SAMPLE_BYTES = 256 << 20
"""Bytes of text, about, that a tokenizer is trained on if the corpora hold that much."""
PIECE_BYTES = 1 << 20
"""Bytes of text taken at each of the evenly spaced points of larger corpora."""


@dataclass(frozen=True)
class TrainTokenizer(ReadingStage):
    """Trains the tokenizer on a sample of the training documents, each different text once."""

    def run(self, plan: JobPlan, rank: int) -> None:
        texts = self._sample(plan, only_training=True)
        first = next(texts, None)
        # The hashes of a few documents may assign all of them to validation. `Select` then moves
        # one to training.
        texts = self._sample(plan, only_training=False) if first is None else chain([first], texts)
        Tokenizer.train(texts, plan.options["vocab_size"]).save(self.work.folder / "tokenizer.json")

    def _sample(self, plan: JobPlan, *, only_training: bool) -> Iterator[str]:
        """Yield documents from the beginning of each unit, more of a larger unit (`_shares`)."""
        units, known = [(task.corpus, unit) for task in plan.tasks for unit in task.units], KnownTexts()
        for (corpus, unit), room in zip(units, _shares([unit.size for _, unit in units]).tolist(), strict=True):
            left, items = room, self.corpus(plan, corpus).stream(unit, plan.read_options) if room > 0 else iter(())
            cleaned = clean_batches(items, plan.options["min_characters"])
            for batch in filtered(cleaned, chosen_for(plan.options, corpus)):
                if isinstance(batch, Drop):
                    continue
                keys = text_hashes(batch.texts)
                _, wanted = known.look_up(keys)
                if only_training:
                    wanted &= splits_of(keys[:, 0], plan) == 0
                yield from batch.keep(wanted).to_strings()
                left -= size_of_texts(batch.texts)
                if left <= 0:
                    break


def _shares(sizes: Sequence[int]) -> np.ndarray:
    """Return the bytes of text to take of each unit, (n,), given their sizes on disk.

    A size of 0 is not known, as on the hub, and is taken for the mean of the others.
    """
    known = np.array(sizes, dtype=np.float64)
    known[known == 0] = known[known > 0].mean() if known.any() else 1.0
    ends = np.cumsum(known)
    if ends[-1] <= SAMPLE_BYTES:
        return known * (SAMPLE_BYTES / ends[-1])
    pieces = SAMPLE_BYTES // PIECE_BYTES
    points = (np.arange(pieces) + 0.5) * (ends[-1] / pieces)
    return np.bincount(np.searchsorted(ends, points), minlength=len(known)) * float(PIECE_BYTES)
