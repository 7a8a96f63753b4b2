"""Batches of documents as Arrow keeps them, on which the stages of preprocessing work.

`clean_batches` gathers the documents of any reader, repairs them and drops those that are no text.
A reader may yield a batch itself, for example a column of a Parquet file. (JSON lines come record
by record, because Arrow's own reader of them was no faster where every core has its own process.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpt_research.preprocessing.document import Document, Drop
from gpt_research.preprocessing.text.arrow import BATCH_BYTES, DOCUMENT_SCHEMA, encoded, integers, joined, mask
from gpt_research.preprocessing.text.repair import drop_reasons, repair, repairs


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents with their sources and positions."""

    rows: pa.RecordBatch
    """With the schema `DOCUMENT_SCHEMA`."""
    strings: list[str] | None = None
    """The texts as Python strings, if a reader made them; saves making them again."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> pa.LargeStringArray:
        return self.rows["text"]

    def keep(self, wanted: np.ndarray) -> Batch:
        """Return the documents for which `wanted`, (n,) bool, is True."""
        if wanted.all():
            return self
        strings = self.strings and list(compress(self.strings, wanted.tolist()))
        return Batch(self.rows.filter(mask(wanted)), strings)

    def mended(self, texts: dict[int, str]) -> Batch:
        """Return the batch with the given texts in place of those of some rows."""
        if not texts:
            return self
        changed = np.zeros(len(self), dtype=bool)
        changed[list(texts)] = True
        column = pc.replace_with_mask(self.texts, mask(changed), encoded([texts[row] for row in sorted(texts)]))
        strings = self.strings and [texts.get(row, text) for row, text in enumerate(self.strings)]
        return Batch(self.rows.set_column(0, "text", column), strings)

    def with_texts(self, texts: pa.LargeStringArray) -> Batch:
        """Return the batch with other texts, (n,)."""
        return Batch(self.rows.set_column(0, DOCUMENT_SCHEMA.field("text"), texts))

    def to_strings(self) -> list[str]:
        return self.texts.to_pylist() if self.strings is None else self.strings


def clean_batches(items: Iterable[Document | Drop | pa.RecordBatch], min_characters: int) -> Iterator[Batch | Drop]:
    """Gather documents to batches and repair them. A document that is no text becomes a drop."""
    for item in batched(items):
        if isinstance(item, Drop):
            yield item
            continue
        item = item.mended(repairs(item.texts))
        reasons = drop_reasons(item.texts, min_characters)
        for row, reason in enumerate(reasons):
            if reason:
                yield Drop(reason, *place_of(item.rows, row), item.texts[row].as_py()[:100])
        yield item.keep(np.array([reason is None for reason in reasons]))


def place_of(rows: pa.RecordBatch | pa.Table, row: int) -> tuple[str, int]:
    """Return source and position of the document in a row."""
    return rows["source"][row].as_py(), rows["position"][row].as_py()


def batched(items: Iterable[Document | Drop | pa.RecordBatch]) -> Iterator[Batch | Drop]:
    """Gather documents to batches of about `BATCH_BYTES`; pass drops and batches of a reader on."""
    held: list[Document] = []
    size = 0
    for item in items:
        if not isinstance(item, Document):
            # Documents stay in order, because the first of equal ones is kept.
            if held and not isinstance(item, Drop):
                yield _batch(held)
                held, size = [], 0
            yield item if isinstance(item, Drop) else Batch(item)
            continue
        held.append(item)
        size += len(item.text)
        if size >= BATCH_BYTES:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def _batch(documents: list[Document]) -> Batch:
    strings = [document.text for document in documents]
    try:
        texts = joined([document.utf8 or document.text.encode() for document in documents])
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot represent
        strings = list(map(repair, strings))
        texts = encoded(strings)
    sources = encoded([document.source for document in documents], "replace")
    positions = integers(np.array([document.position for document in documents]))
    return Batch(pa.record_batch([texts, sources, positions], schema=DOCUMENT_SCHEMA), strings)
