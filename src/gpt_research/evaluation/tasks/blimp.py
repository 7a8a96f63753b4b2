"""BLiMP: is a grammatical sentence likelier than one that differs in a word or two?

67 sets of 1,000 pairs of sentences, one file each, for 12 phenomena of English grammar. A sentence
is scored as a whole, after an end-of-text token. Results tell how many of the sets were there.
lm-eval's task `blimp` puts a space before each sentence, as inside of a text; here a sentence
begins a text, as its authors publish it.
Source: Warstadt et al. 2020, "BLiMP: The Benchmark of Linguistic Minimal Pairs for English".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from gpt_research.base.errors import UserError
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, text_of
from gpt_research.evaluation.forms import Pair, task_of_form
from gpt_research.evaluation.task import LmEvalTask

SETS, PAIRS = 67, 1000
FILES = BenchmarkFiles("sets of BLiMP (github.com/alexwarstadt/blimp, folder data)", ("*.jsonl",), many=True)


def read(source: Source) -> list[Pair]:
    """Return the pairs of all sets in turn: the first of each set, then the second of each.

    So the first N pairs, which `--limit N` takes, are spread over the sets.
    """
    sets: dict[str, list[Pair]] = {}
    for number in range(len(source.rows)):
        good, bad, name, phenomenon = (
            text_of(source, number, field) for field in ("sentence_good", "sentence_bad", "UID", "linguistics_term")
        )
        sets.setdefault(name, []).append(Pair(good, bad, phenomenon))
    for name, pairs in sets.items():
        if len(pairs) != PAIRS:
            raise UserError(
                f"{source.where}: the set {name} has {len(pairs):,} pairs, but each set of BLiMP has {PAIRS:,}. Fetch "
                "its file again. To measure a part, keep the whole file and use --limit."
            )
    return [pair for row in zip_longest(*sets.values()) for pair in row if pair is not None]


def passages(source: Source) -> Iterator[str]:
    """Yield the good sentences."""
    for number in range(len(source.rows)):
        yield text_of(source, number, "sentence_good")


TASK = task_of_form(
    "pairs",
    files=FILES,
    read=read,
    passages=passages,
    variant="whole sentences, each at the beginning of a text",
    about=lambda source: f"{len({row['UID'] for row in source.rows})} of {SETS} sets",
    lm_eval=LmEvalTask(
        "blimp",
        lambda items: [{"choices": [pair.good, pair.bad]} for pair in items],
        {
            "output_type": "multiple_choice",
            "doc_to_text": "",
            "doc_to_target": 0,
            "doc_to_choice": "choices",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}],
        },
    ),
)
