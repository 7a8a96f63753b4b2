"""WikiText-2's raw test set: perplexity per token, perplexity per word, and bits per byte.

The text is the one of transformers' guide on perplexity: the rows of Hugging Face's data set with
"\\n\\n" between them. A row is a line of the file with its line end, or "" if the line is blank.
GPT-2's tokenizer makes 287,644 tokens of it. The windows are the guide's too
(`windows.sliding_windows`). An item is an article.

    perplexity         exp(nats / tokens), over the scored tokens
    word_perplexity    exp(nats / words); words are separated by whitespace, and an article counts
                       its words times the share of its tokens that were scored
    bits_per_byte      nats / ln 2 / UTF-8 bytes of the scored tokens

Source: Merity et al. 2016, "Pointer Sentinel Mixture Models".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.statistics import BITS_PER_BYTE, PERPLEXITY, Metric
from gpt_research.evaluation.task import Figure, LanguageModel, Measurement, Task

FILES = BenchmarkFiles("WikiText-2's test set", ("*.raw",), 4358, ("Salesforce/wikitext", "wikitext-2-raw-v1", "test"))
# A heading stands between blank lines. A line of this form beside another line is a formula.
_HEADING = re.compile(r" = (?!=).* = \n?")
_SEPARATOR = "\n\n"


def read(source: Source) -> list[str]:
    """Return the articles; joined without a separator, they are the whole text."""
    FILES.check_rows(source.where, len(source.rows))
    rows = [_row(source, number) for number in range(len(source.rows))]
    neighbours = zip(["", *rows], rows, [*rows[1:], ""], strict=False)
    starts = [n for n, (above, row, below) in enumerate(neighbours) if not above + below and _HEADING.fullmatch(row)]
    if not starts:
        raise UserError(f"{source.where} has no heading such as = Title =: it is not WikiText-2. Fetch it again.")
    starts[0] = 0  # because the text before the first heading must belong to some article
    pieces = [_SEPARATOR.join(rows[a:b]) + _SEPARATOR for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)]
    return [*pieces[:-1], pieces[-1].removesuffix(_SEPARATOR)]


def _row(source: Source, number: int) -> str:
    row = source.rows[number]
    row = row + "\n" if isinstance(row, str) else text_of(source, number, "text")
    return row if row.strip() else ""


def measure(model: LanguageModel, items: Sequence[str]) -> Measurement:
    """Return nats, scored tokens, words and bytes of each article."""
    text = model.running_text(items)
    share = text.scored / np.maximum(text.tokens, 1)
    columns = {
        "nats": text.nats,
        "tokens": text.scored,
        "words": np.array([len(article.split()) for article in items]) * share,
        "bytes": text.bytes,
    }
    return Measurement(columns, {"stride": text.stride}, {"tokens": int(text.tokens.sum())})


TASK = Task(
    files=FILES,
    unit="articles",
    read=read,
    measure=measure,
    variant="raw text, lines joined as Hugging Face does it",
    metrics={
        "perplexity": PERPLEXITY,
        "word_perplexity": Metric("nats", "words", exponential=True),
        "bits_per_byte": BITS_PER_BYTE,
    },
    published={
        "perplexity": [
            Figure(29.94, 1024, "the released weights in transformers, stride 1,024"),
            Figure(43.34, 256, "the released weights, stride 256"),
        ]
    },
)
