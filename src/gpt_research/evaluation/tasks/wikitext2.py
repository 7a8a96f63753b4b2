"""WikiText-2's raw test set: perplexity per token and per word, bits per byte.

The text is what Hugging Face's data set gives joined as its guide joins it: each line of the file with its
end, blank lines empty, "\\n\\n" between them (287,644 tokens of GPT-2). Windows are that guide's too
(`scoring.sliding_windows`). An item is an article, for the standard error and for comparisons.

    perplexity       exp(nats / tokens), over the scored tokens
    word_perplexity  exp(nats / words), words being what blanks separate, counted for the scored share of the tokens
    bits_per_byte    nats / ln 2 / UTF-8 bytes of the scored tokens

Source: Merity et al. 2016, "Pointer Sentinel Mixture Models".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import Source, check_rows, digest, text_of
from gpt_research.evaluation.evaluated_model import Subject
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.scoring import Window, sliding_windows

TASK = "wikitext2"
_HEADING = re.compile(r" = (?!=).* = \n?")  # between blank lines; within a text it is a formula
_SEPARATOR = "\n\n"


def articles(source: Source) -> list[str]:
    """Return the articles as the join has them: glued together they are the whole text.

    Raises:
        UserError: not the whole test set, or a row without text.
    """
    check_rows(TASK, source.where, len(source.rows))
    rows = [_row(source, number) for number in range(len(source.rows))]
    neighbours = zip(["", *rows], rows, [*rows[1:], ""], strict=False)
    starts = [n for n, (above, row, below) in enumerate(neighbours) if not above + below and _HEADING.fullmatch(row)]
    if not starts:
        raise UserError(f"{source.where} has no heading such as = Title =: it is not WikiText-2. Fetch it again.")
    starts[0] = 0  # what is before the first heading belongs to it
    pieces = [_SEPARATOR.join(rows[a:b]) + _SEPARATOR for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)]
    return [*pieces[:-1], pieces[-1].removesuffix(_SEPARATOR)]


def _row(source: Source, number: int) -> str:
    row = source.rows[number]
    row = row + "\n" if isinstance(row, str) else text_of(source, number, "text")
    return row if row.strip() else ""


def measure(subject: Subject, source: Source, stride: int | None = None, limit: int = 0) -> Result:
    """Return the scores by article.

    Args:
        stride: tokens from one window to the next; None for the context.
        limit: the first so many articles; 0 takes all.

    Raises:
        UserError: a stride that the context does not hold, or a damaged source.
    """
    context = subject.context
    stride = context if stride is None else stride
    if not 1 <= stride <= context:
        raise UserError(f"stride is {stride}, but it must be 1 to {context}, the context: more would skip tokens.")
    texts = articles(source)[: limit or None]
    tokens = np.array(subject.tokenizer.encode("".join(texts)), dtype=np.int64)
    lengths = subject.tokenizer.byte_lengths[tokens]
    owner = _owners([len(text.encode()) for text in texts], lengths)

    places = list(sliding_windows(len(tokens), context, stride))
    scores = subject.score([Window(tokens[begin:end], end - first) for begin, first, end in places], TASK)
    scored, nats = np.zeros(len(tokens)), np.zeros(len(tokens))
    for (_, first, end), found in zip(places, scores, strict=True):
        scored[first:end], nats[first:end] = 1.0, found.nats

    def by_article(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, values, minlength=len(texts))

    share = by_article(scored) / np.maximum(by_article(np.ones(len(tokens))), 1)
    columns = {
        "nats": by_article(nats),
        "tokens": by_article(scored),
        "words": np.array([len(text.split()) for text in texts]) * share,
        "bytes": by_article(lengths * scored),
    }
    facts = {"context": context, "stride": stride, "source": source.facts, "items_sha256": digest(texts)}
    return Result(TASK, columns, {**facts, "tokens": len(tokens), "unit": "articles"})


def _owners(text_bytes: Sequence[int], token_bytes: np.ndarray) -> np.ndarray:
    """Return for each token the text that its first byte is in."""
    starts = np.cumsum(token_bytes) - token_bytes
    return np.searchsorted(np.cumsum(text_bytes)[:-1], starts, side="right")
