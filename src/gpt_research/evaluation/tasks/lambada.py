"""LAMBADA, OpenAI's version: can the model say the last word of a passage?

As lm-eval's task `lambada_openai`: the context is all up to the last blank, the word follows with its blank.
accuracy: the share of passages whose word is what greedy decoding writes. perplexity: exp of the mean nats of a word.
Source: Paperno et al. 2016, "The LAMBADA dataset"; Radford et al. 2019 for this version of the texts.
"""

from __future__ import annotations

from gpt_research.evaluation.benchmark_files import Source, check_rows, digest, text_of
from gpt_research.evaluation.evaluated_model import Subject
from gpt_research.evaluation.results import Result

TASK = "lambada"


def passages(source: Source) -> list[str]:
    """Return the passages, each with its last word.

    Raises:
        UserError: not the whole test set, or a row without text.
    """
    check_rows(TASK, source.where, len(source.rows))
    return [text_of(source, number, "text") for number in range(len(source.rows))]


def split(passage: str) -> tuple[str, str]:
    """Return context and last word, which begins with its blank."""
    before, _, word = passage.rpartition(" ")
    return before, " " + word


def measure(subject: Subject, source: Source, limit: int = 0) -> Result:
    """Return the scores by passage; `limit` takes the first so many."""
    texts = passages(source)[: limit or None]
    found = subject.continuations([split(text) for text in texts], TASK)
    columns = {"nats": found.nats, "correct": found.greedy}
    facts = {
        "context": subject.context,
        "source": source.facts,
        "items_sha256": digest(texts),
        "cut": found.cut,
    }
    return Result(TASK, columns, {**facts, "unit": "passages"})
