"""From a position in a split to its document, the document's source file, and the text around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt_research.data.lineage import source_of
from gpt_research.data.shards import index_path
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.tracing.index import SplitIndex

CONTEXT = 24
"""Tokens of text that are shown before and after a place."""


@dataclass(frozen=True)
class Located:
    """Where some tokens of a split stand."""

    corpus: str
    document: int
    """Number of the document among those of the corpus and split."""
    source: str
    """Source file of the document, `!` before a member of an archive; empty if it is not known."""
    position: int | None
    """Position of the document in its source: row, page, message or byte offset."""
    byte: int
    """Byte of the document's text, as it is in the data set, at which the tokens begin."""
    token: int
    """Number among the tokens of the corpus and split, as `where --token` takes it."""
    token_in_document: int
    length: int
    """Tokens that stand there. The same text may stand elsewhere as more or fewer."""
    before: str
    after: str
    """The text around."""


def locate(split: SplitIndex, position: int, length: int, tokenizer: Tokenizer) -> Located:
    """Return where `length` tokens from a position on stand.

    Raises:
        UserError: a document index is damaged.
    """
    text = split.text
    shard, in_shard = text.place(position)
    corpus, number = text.shards[shard]
    document = int(np.searchsorted(split.documents, position, side="right")) - 1
    begin = int(split.documents[document])
    end = int(split.documents[document + 1]) if document + 1 < len(split.documents) else text.count
    files = text.files[corpus]
    path = index_path(files.folder, files.shards[number])
    row = document - int(np.searchsorted(split.documents, text.first[shard]))
    source, position_in_source = source_of(path, row) if path.is_file() else ("", None)
    first_of_corpus = int(text.first[next(i for i, (name, _) in enumerate(text.shards) if name == corpus)])
    lengths = tokenizer.byte_lengths
    before = text.tokens(max(begin, position - CONTEXT), position)
    after = text.tokens(position + length, min(end, position + length + CONTEXT))
    return Located(
        corpus=corpus,
        document=document - int(np.searchsorted(split.documents, first_of_corpus)),
        source=source,
        position=position_in_source,
        byte=split.bytes_before(position, lengths) - split.bytes_before(begin, lengths),
        token=position - first_of_corpus,
        token_in_document=position - begin,
        length=length,
        before=tokenizer.decode(before),
        after=tokenizer.decode(after),
    )
