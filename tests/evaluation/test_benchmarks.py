"""Each benchmark's scores are those of a plain loop over its definition; its files are read as they
are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation import benchmark_files
from gpt_research.evaluation.benchmark_files import Source
from gpt_research.evaluation.chosen_tasks import Items
from gpt_research.evaluation.evaluate import measure_task
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.results import Result
from gpt_research.evaluation.tasks import hellaswag, lambada, wikitext2
from gpt_research.evaluation.tasks.table import TASKS


def source_of(task: str, folder: Path | str) -> Source:
    return benchmark_files.find(task, TASKS[task].files, str(folder))


def measured(evaluated: EvaluatedModel, task: str, folder: Path | str, limit: int | None = None) -> Result:
    """Return the scores of a task on its first items."""
    source = source_of(task, folder)
    items = TASKS[task].read(source)
    return measure_task(evaluated, task, Items(TASKS[task], source, items[:limit], len(items)))


def likelihood(evaluated: EvaluatedModel, before: str, after: str) -> tuple[float, bool]:
    """Return ln p of `after` and whether it is greedy, token by token, as lm-eval defines a
    continuation.
    """
    encode = evaluated.tokenizer.encode
    context = encode(before) or [evaluated.tokenizer.end_of_text]
    tokens = context + (encode(before + after)[len(context) :] if before else encode(after))
    total, greedy = 0.0, True
    for place in range(len(context), len(tokens)):
        with torch.no_grad():
            logits = evaluated.model(torch.tensor([tokens[max(0, len(tokens) - 49) : place]]))[0, -1]
        total += logits.double().log_softmax(-1)[tokens[place]].item()
        greedy &= int(logits.argmax()) == tokens[place]
    return total, greedy


def test_wikitext_joins_to_the_tokens_that_the_literature_counts(shared: Path) -> None:
    texts = wikitext2.read(source_of("wikitext2", shared / "benchmarks"))
    lines = (shared / "benchmarks/wikitext2/wiki.test.raw").read_text(encoding="utf-8").splitlines(keepends=True)
    assert "".join(texts) == "\n\n".join(line if line.strip() else "" for line in lines)
    assert len(Tokenizer.gpt2().encode("".join(texts))) == 287_644
    assert len(texts) == 60
    assert texts[1].startswith(" = Du Fu = \n")


@pytest.mark.parametrize("stride", [None, 48, 20, 1])
def test_wikitext_scores_are_those_of_the_guides_loop(
    evaluated: EvaluatedModel, benchmarks: Path, stride: int | None
) -> None:
    source = source_of("wikitext2", benchmarks)
    found = measured(dataclasses.replace(evaluated, stride=stride), "wikitext2", benchmarks, 3)
    text = "".join(wikitext2.read(source)[:3])
    tokens = torch.tensor([evaluated.tokenizer.encode(text)])
    nats, counted, previous_end = 0.0, 0, 0
    scored_bytes = 0
    for begin in range(0, tokens.size(1), stride or 48):
        end = min(begin + 48, tokens.size(1))
        labels = tokens[:, begin:end].clone()
        labels[:, : -(end - previous_end)] = -100
        with torch.no_grad():
            logits = evaluated.model(tokens[:, begin:end])
        nats += F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum").item()
        kept = labels[0, 1:][labels[0, 1:] != -100]
        counted, previous_end = counted + len(kept), end
        scored_bytes += len(evaluated.tokenizer.decode_bytes(kept.tolist()))
        if end == tokens.size(1):
            break
    scores = {name: estimate.value for name, estimate in found.estimates.items()}
    assert found.columns["tokens"].sum() == counted
    assert scores["perplexity"] == pytest.approx(math.exp(nats / counted), rel=1e-5)
    assert scores["bits_per_byte"] == pytest.approx(nats / math.log(2) / scored_bytes, rel=1e-5)
    if stride not in (None, 48):  # then all but the first token are scored
        assert counted == tokens.size(1) - 1
        words = len(text.split()) * counted / tokens.size(1)
        assert math.log(scores["word_perplexity"]) == pytest.approx(nats / words, rel=1e-3)


def test_an_article_begins_at_its_heading_and_a_formula_begins_none(benchmarks: Path) -> None:
    texts = wikitext2.read(source_of("wikitext2", benchmarks))
    assert all(text.lstrip("\n").startswith(" = The Crown № ") for text in texts)
    formulas = sum(text.count(" = 1 henry and C = ") for text in texts)
    assert formulas >= len(texts) - 1 > 100


@pytest.mark.parametrize("stride", [0, 49])
def test_a_stride_that_the_context_does_not_hold_is_refused(
    evaluated: EvaluatedModel, benchmarks: Path, stride: int
) -> None:
    with pytest.raises(UserError, match=f"stride is {stride}, but it must be 1 to 48"):
        measured(dataclasses.replace(evaluated, stride=stride), "wikitext2", benchmarks)


def test_lambada_scores_are_those_of_a_plain_loop(evaluated: EvaluatedModel, benchmarks: Path) -> None:
    found = measured(evaluated, "lambada", benchmarks, 40)
    rows = (benchmarks / "lambada/test.jsonl").read_text().splitlines()[:40]
    total, right = 0.0, 0
    for row in rows:
        words = json.loads(row)["text"].split(" ")
        before = " ".join(words[:-1])
        blanks = before[len(before.rstrip()) :]
        nats, greedy = likelihood(evaluated, before.rstrip(), blanks + " " + words[-1])
        total, right = total + nats, right + greedy
    assert 0 < right < 40, "both answers must occur"
    assert found.estimates["accuracy"].value == right / 40
    assert found.estimates["perplexity"].value == pytest.approx(math.exp(-total / 40), rel=1e-5)


def test_hellaswag_scores_are_those_of_a_plain_loop(evaluated: EvaluatedModel, benchmarks: Path) -> None:
    source = source_of("hellaswag", benchmarks)
    found = measured(evaluated, "hellaswag", benchmarks, 25)
    right = right_norm = 0
    for question in hellaswag.read(source)[:25]:
        sums = np.array([likelihood(evaluated, question.context, " " + ending)[0] for ending in question.choices])
        right += int(sums.argmax()) == question.label
        right_norm += int((sums / [len(ending) for ending in question.choices]).argmax()) == question.label
    assert right != right_norm, "the two must be told apart"
    assert found.estimates["accuracy"].value == right / 25
    assert found.estimates["accuracy_norm"].value == right_norm / 25


def original_row(number: int) -> dict[str, Any]:
    """Return a row as the authors wrote them: one of ActivityNet, one of wikiHow."""
    endings = ["goes  away. [step] Again.", "stays [sic].", "runs.", " sits. "]
    if number % 2:
        return {"activity_label": "Riding", "ctx_a": "A man sits. He waits.", "ctx_b": "the Man on it",
                "endings": endings, "label": number % 4}  # fmt: skip
    return {"activity_label": "Travel", "ctx_a": "[header] How to go [title] Pack. [step] Take a bag.", "ctx_b": "",
            "endings": endings, "label": str(number % 4)}  # fmt: skip


def test_original_rows_are_cleaned_as_lm_eval_cleans_them() -> None:
    first, second = hellaswag.read(Source("x", [original_row(n) for n in range(10042)], {}))[:2]
    assert first.context == "Travel: How to go. Pack. Take a bag."
    assert second.context == "Riding: A man sits. He waits. The man on it"
    assert first.choices == ("goes away. Again.", "stays .", "runs.", "sits.")
    assert (first.label, second.label) == (0, 1)


def test_six_lines_and_original_rows_give_the_same_questions(shared: Path) -> None:
    lines = ["Riding: A man sits. He waits. the Man on it", "2", "goes away.", "stays .", "runs.", "sits."]
    rows = [{"activity_label": "Riding", "ctx_a": "A man sits. He waits.", "ctx_b": "the Man on it",
             "endings": lines[2:], "label": 2}]  # fmt: skip
    assert hellaswag.read(Source("x", lines * 10042, {}))[0] == hellaswag.read(Source("x", rows * 10042, {}))[0]
    real = hellaswag.read(source_of("hellaswag", shared / "benchmarks"))
    assert real[0].context == "Roof shingle removal: A man is sitting on a roof. He"
    assert real[0].choices[real[0].label] == "starts pulling up roofing on a roof."
    unfinished = [question.context for question in real if not question.context.endswith(".")]
    begun = [context[context.rindex(". ") + 2] for context in unfinished if ". " in context]
    assert len(unfinished) == 3243
    assert sum(letter.isupper() for letter in begun) / len(begun) > 0.99


def test_the_hub_gives_what_the_files_give(
    evaluated: EvaluatedModel, benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = (benchmarks / "wikitext2/wiki.test.raw").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = {
        "Salesforce/wikitext": [{"text": line if line.strip() else ""} for line in raw],
        "EleutherAI/lambada_openai": [
            json.loads(line) for line in (benchmarks / "lambada/test.jsonl").read_text().splitlines()
        ],
    }
    hub = types.SimpleNamespace(load_dataset=lambda name, config, split: rows[name])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    for task in ("wikitext2", "lambada"):
        one, other = measured(evaluated, task, benchmarks, 2), measured(evaluated, task, "", 2)
        assert one.facts["items_sha256"] == other.facts["items_sha256"]
        assert (one.columns["nats"] == other.columns["nats"]).all()


def test_a_shorter_context_is_that_of_a_shorter_model(evaluated: EvaluatedModel, benchmarks: Path) -> None:
    source = source_of("lambada", benchmarks)
    short = dataclasses.replace(evaluated, context=12)
    found, whole = (measured(model, "lambada", benchmarks, 30) for model in (short, evaluated))
    assert found.facts["context"] == 12
    assert found.facts["cut"] > 5
    assert not np.allclose(found.columns["nats"], whole.columns["nats"])
    for text, nats in zip(lambada.read(source)[:3], found.columns["nats"], strict=False):
        before, word = lambada.split(text)
        tokens = evaluated.tokenizer.encode(text)[-13:]
        first = len(tokens) - len(evaluated.tokenizer.encode(text)) + len(evaluated.tokenizer.encode(before))
        with torch.no_grad():
            log_p = evaluated.model(torch.tensor([tokens[:-1]]))[0].log_softmax(-1)
        assert nats == pytest.approx(-sum(log_p[i - 1, tokens[i]].item() for i in range(first, len(tokens))), rel=1e-5)
