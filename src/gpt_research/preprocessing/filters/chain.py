"""Filtering: the documents of a corpus pass its filters one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gpt_research.preprocessing.document import Drop
from gpt_research.preprocessing.filters.filter import Filter, Texts, Verdict
from gpt_research.preprocessing.text.batches import Batch, place_of

_EXCERPT = 400
"""Bytes at the beginning of a text that a drop shows."""


def filtered(items: Iterable[Batch | Drop], filters: Sequence[tuple[str, Filter]]) -> Iterator[Batch | Drop]:
    """Apply filters to batches, and pass drops on. A document that is left out becomes a drop.

    The reason of such a drop is the name of the filter and of its rule: "c4:too_few_sentences".
    """
    for item in items:
        if isinstance(item, Drop) or not filters:
            yield item
            continue
        texts = Texts(item.texts)
        for name, judge in filters:
            if not len(texts):
                break
            verdict = judge.judge(texts)
            yield from _drops(name, verdict, item, texts)
            if verdict.changed is not None:
                item = item.with_texts(verdict.changed)
                texts = Texts(item.texts)
            if verdict.reasons:
                wanted = np.ones(len(texts), dtype=bool)
                wanted[list(verdict.reasons)] = False
                item, texts = item.keep(wanted), texts.keep(wanted)
        yield item


def _drops(name: str, verdict: Verdict, batch: Batch, texts: Texts) -> Iterator[Drop]:
    data, bounds = texts.utf8
    for row, rule in sorted(verdict.reasons.items()):
        first, stop = bounds[row], bounds[row + 1]
        excerpt = data[first : min(stop, first + _EXCERPT)].tobytes().decode("utf-8", "ignore")[:100]
        measured = f"{verdict.notes[row]}: " if row in verdict.notes else ""
        yield Drop(f"{name}:{rule}", *place_of(batch.rows, row), measured + excerpt)
