"""LAMBADA, OpenAI's version: can the model say the last word of a passage?

As lm-eval's task `lambada_openai`: the context is all up to the last blank, the word follows with its blank.
accuracy: the share of passages whose word is what greedy decoding writes. perplexity: exp of the mean nats of a word.
Source: Paperno et al. 2016, "The LAMBADA dataset"; Radford et al. 2019 for this version of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.statistics import ACCURACY, Metric
from gpt_research.evaluation.task import Figure, LanguageModel, LmEvalTask, Measurement, Task

FILES = BenchmarkFiles(
    "LAMBADA's test set (OpenAI's)", ("*.jsonl",), 5153, ("EleutherAI/lambada_openai", "default", "test")
)


def passages(source: Source) -> list[str]:
    """Return the passages, each with its last word.

    Raises:
        UserError: a row without text.
    """
    return [text_of(source, number, "text") for number in range(len(source.rows))]


def read(source: Source) -> list[str]:
    """Return the passages of the whole test set.

    Raises:
        UserError: not the whole test set, or a row without text.
    """
    FILES.check_rows(source.where, len(source.rows))
    return passages(source)


def split(passage: str) -> tuple[str, str]:
    """Return context and last word, which begins with its blank."""
    before, _, word = passage.rpartition(" ")
    return before, " " + word


def measure(model: LanguageModel, items: Sequence[str]) -> Measurement:
    """Return nats of the last word, and whether it is greedy, for each passage."""
    words = model.continuations([split(passage) for passage in items])
    return Measurement({"nats": words.nats, "correct": words.greedy}, counts={"cut": words.cut})


TASK = Task(
    files=FILES,
    unit="passages",
    read=read,
    measure=measure,
    metrics={"accuracy": ACCURACY, "perplexity": Metric("nats", exponential=True)},
    passages=passages,
    published={
        "accuracy": [Figure(0.3256, 1024, "lm-eval, lambada_openai")],
        "perplexity": [Figure(40.06, 1024, "lm-eval, lambada_openai")],
    },
    lm_eval=LmEvalTask(
        "lambada_openai",
        lambda items: [{"text": passage} for passage in items],
        {
            "output_type": "loglikelihood",
            "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
            "doc_to_target": "{{' '+text.split(' ')[-1]}}",
            "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
        },
    ),
)
