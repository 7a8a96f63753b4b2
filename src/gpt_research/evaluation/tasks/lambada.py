"""LAMBADA, OpenAI's version: does the model predict the last word of a passage?

Scored as lm-eval's task `lambada_openai`. The context is the text before the last space; the space
and the last word are the continuation.

    accuracy      share of passages whose last word greedy decoding writes
    perplexity    exp of the mean nats of a last word, however many tokens it has

The ready requests have the same passages, but every line end in them became a blank.

Source: Paperno et al. 2016, "The LAMBADA dataset"; Radford et al. 2019 for this version.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.forms import Completion, measure_cloze, task_of_form
from gpt_research.evaluation.task import Figure, LanguageModel, LmEvalTask, Measurement

FILES = BenchmarkFiles(
    "LAMBADA's test set (OpenAI's)", ("*.jsonl",), 5153, ("EleutherAI/lambada_openai", "default", "test")
)


def passages(source: Source) -> list[str]:
    """Return the passages, each with its last word."""
    return [text_of(source, number, "text") for number in range(len(source.rows))]


def read(source: Source) -> list[str]:
    """Return the passages of the whole test set."""
    FILES.check_rows(source.where, len(source.rows))
    return passages(source)


def split(passage: str) -> tuple[str, str]:
    """Return the context, and the last word with the space before it."""
    before, _, word = passage.rpartition(" ")
    return before, " " + word


def measure(model: LanguageModel, items: Sequence[str]) -> Measurement:
    """Return the nats of each last word, and whether greedy decoding writes it."""
    return measure_cloze(model, [Completion(*split(passage)) for passage in items])


TASK = task_of_form(
    "cloze",
    files=FILES,
    read=read,
    measure=measure,
    passages=passages,
    variant="OpenAI's text, with its line ends",
    requests="lambada/bpb_0shot",
    from_requests=lambda item: item.context + item.continuation,
    requests_variant="OpenAI's text, in which line ends became blanks",
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
