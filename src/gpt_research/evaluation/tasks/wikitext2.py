"""WikiText-2's raw test set: perplexity per token and per word, bits per byte.

The text is what Hugging Face's data set gives joined as its guide joins it: each line of the file with its
end, blank lines empty, "\\n\\n" between them (287,644 tokens of GPT-2). Windows are that guide's too
(`windows.sliding_windows`). An item is an article, for the standard error and for comparisons.

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
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.statistics import BITS_PER_BYTE, PERPLEXITY, Metric
from gpt_research.evaluation.task import Figure, LanguageModel, Measurement, Task

FILES = BenchmarkFiles("WikiText-2's test set", ("*.raw",), 4358, ("Salesforce/wikitext", "wikitext-2-raw-v1", "test"))
_HEADING = re.compile(r" = (?!=).* = \n?")  # between blank lines; within a text it is a formula
_SEPARATOR = "\n\n"


def read(source: Source) -> list[str]:
    """Return the articles as the join has them: glued together they are the whole text.

    Raises:
        UserError: not the whole test set, or a row without text.
    """
    FILES.check_rows(source.where, len(source.rows))
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


def measure(model: LanguageModel, items: Sequence[str]) -> Measurement:
    """Return nats, scored tokens, words and bytes of each article.

    Raises:
        UserError: a stride that the context does not hold.
    """
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
