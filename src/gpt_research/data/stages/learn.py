"""Learning: a vocabulary from the texts themselves, where no tokenizer is given."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from gpt_research.corpora.batches import clean_batches
from gpt_research.corpora.document import Drop
from gpt_research.corpora.duplicates import KnownTexts, text_hashes
from gpt_research.data.stages.stage import Stage, sides, size_of_texts
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.work import Plan

SAMPLE_BYTES = 256 << 20
"""Text that a tokenizer is trained on, at most."""
LEAST_PIECE = 1 << 20
"""Text taken of a unit of the corpora, if it has as much."""


class Learn(Stage):
    """The vocabulary, from a sample of the training documents, each different text once."""

    def run(self, plan: Plan, rank: int) -> None:
        texts = self._sample(plan, only_training=True)
        first = next(texts, None)
        # A few documents may all be for validation by their hash, of which one then goes to training.
        texts = self._sample(plan, only_training=False) if first is None else chain([first], texts)
        Tokenizer.train(texts, plan.options["vocab_size"]).save(self.work.folder / "tokenizer.json")

    @staticmethod
    def _sample(plan: Plan, *, only_training: bool) -> Iterator[str]:
        """Yield documents from the beginning of every unit, or of as many as the sample has room for."""
        units = [(plan.corpus(task.corpus), unit) for task in plan.tasks for unit in task.units]
        piece, left, known = max(SAMPLE_BYTES // len(units), LEAST_PIECE), SAMPLE_BYTES, KnownTexts()
        for number in np.random.default_rng(plan.options["seed"]).permutation(len(units)).tolist():
            corpus, unit = units[number]
            room = piece
            for batch in clean_batches(corpus.stream(unit, plan.read_options), plan.options["min_characters"]):
                if isinstance(batch, Drop):
                    continue
                keys = text_hashes(batch.texts)
                _, wanted = known.look_up(keys)
                if only_training:
                    wanted &= sides(keys[:, 0], plan) == 0
                yield from batch.keep(wanted).to_strings()
                room -= size_of_texts(batch.texts)
                left -= size_of_texts(batch.texts)
                if min(room, left) <= 0:
                    break
            if left <= 0:
                return
