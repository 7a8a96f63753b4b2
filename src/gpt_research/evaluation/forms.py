"""The forms of benchmark items: what an item is, what the model is asked, and which scores follow.

    choice     which of several continuations of a context is the true one?
    schema     after which of several contexts is a continuation likeliest?
    pairs      is a good sentence likelier than a bad one?
    cloze      does greedy decoding write the true continuation?
    answer     how many bits does a byte of the true answer take?
    generate   is what the model writes one of the true answers?

A tie is shared: if the true choice and k - 1 others are equally likely, it counts 1 / k. So a model
that finds everything equally likely gets the score of a guess, wherever the true choice stands.
Neither this module nor a task imports torch.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.evaluation.statistics import BITS_PER_BYTE, Columns, Metric, in_group
from gpt_research.evaluation.task import BenchmarkFiles, LanguageModel, LmEvalTask, Measurement, Source, Task


@dataclass(frozen=True)
class Question:
    """A context and several continuations, of which one is true."""

    context: str
    choices: tuple[str, ...]
    """Without the space that stands between the context and a choice."""
    label: int
    """Number of the true choice."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Context and continuation of each choice."""
        return [(self.context, spaced(self.context, choice)) for choice in self.choices]

    @property
    def answers(self) -> tuple[str, ...]:
        """The texts by whose length a choice is normalised."""
        return self.choices


@dataclass(frozen=True)
class Options:
    """Several contexts, each with a continuation, one of which is true. Often only the contexts
    differ, as in a Winograd schema.
    """

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    """With the space before them."""
    label: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(self.contexts, self.continuations, strict=True))

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(text.removeprefix(" ") for text in self.continuations)


@dataclass(frozen=True)
class Pair:
    """Two sentences, of which the first is the better one."""

    good: str
    bad: str
    group: str = ""
    """What the pair is about, such as a phenomenon of grammar."""


@dataclass(frozen=True)
class Completion:
    """A context and its true continuation, with the space between them."""

    context: str
    continuation: str


@dataclass(frozen=True)
class Prompt:
    """A text that the model goes on with, and the answers that count as right."""

    prompt: str
    answers: tuple[str, ...]


def spaced(context: str, choice: str) -> str:
    """Return a choice with the space before it, unless the context is empty or ends with one."""
    return choice if not context or context[-1].isspace() else " " + choice


def drawn(seed: int, count: int, shots: int, without: int | None) -> list[int]:
    """Return the numbers of the solved examples of an item, drawn from `count` rows.

    Args:
        without: number of the item's own row, which is not drawn; None if it is not among them.
    """
    if without is None:
        return random.Random(seed).sample(range(count), shots)
    # Rows from its own on move up by one. This draws what a list without its own row would give.
    return [number + (number >= without) for number in random.Random(seed).sample(range(count - 1), shots)]


CHOICE_METRICS = {
    "accuracy": Metric("correct", higher_is_better=True, chance="chance", normalisation="none"),
    "accuracy_norm": Metric("correct_norm", higher_is_better=True, chance="chance", normalisation="characters"),
    "accuracy_len_norm": Metric(
        "correct_len_norm", higher_is_better=True, chance="chance", normalisation="characters with the space before"
    ),
    "accuracy_bytes": Metric("correct_bytes", higher_is_better=True, chance="chance", normalisation="bytes"),
    "accuracy_tokens": Metric("correct_tokens", higher_is_better=True, chance="chance", normalisation="tokens"),
    "bits_per_byte": Metric("bits", normalisation="bytes of each answer"),
}
PAIR_METRICS = {"accuracy": CHOICE_METRICS["accuracy"]}
CLOZE_METRICS = {
    "accuracy": replace(CHOICE_METRICS["accuracy"], normalisation="greedy decoding"),
    "perplexity": Metric("nats", exponential=True, normalisation="each answer"),
    "bits_per_byte": CHOICE_METRICS["bits_per_byte"],
}
ANSWER_METRICS = {
    "bits_per_byte": CHOICE_METRICS["bits_per_byte"],
    "bits_per_byte_pooled": replace(BITS_PER_BYTE, normalisation="bytes of all answers"),
}
GENERATE_METRICS = {"exact_match": Metric("correct", higher_is_better=True, chance="chance", normalisation="greedy")}


def shared_ties(costs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how much each item counts, (items,): 1 / k if its label is one of k lowest costs.

    Args:
        costs: (items, choices); infinite where an item has fewer choices.
        labels: (items,)
    """
    lowest = costs == costs.min(1, keepdims=True)
    chosen = lowest[np.arange(len(labels)), labels]
    counts: np.ndarray = chosen / lowest.sum(1)
    return counts


def guess(items: Sequence[Question | Options]) -> np.ndarray:
    """Return what a guess scores on each item, (items,).

    That is 1 / choices. If all questions have the same choices, such as yes and no, it is the share
    of the most frequent answer, which a model may learn to give always.
    """
    if len(items) > 1 and isinstance(items[0], Question) and len({item.answers for item in items}) == 1:
        counts = np.bincount([item.label for item in items])
        return np.full(len(items), counts.max() / len(items))
    return np.array([1 / len(item.answers) for item in items])


def measure_choices(model: LanguageModel, items: Sequence[Question | Options]) -> Measurement:
    """Return how the true choice stands by each normalisation, and the bits of the true answer."""
    counts = [len(item.answers) for item in items]
    scores = model.continuations([pair for item in items for pair in item.pairs])
    place = np.arange(max(counts)) < np.array(counts)[:, None]  # (items, choices)

    def table(values: Any, missing: float) -> np.ndarray:
        found = np.full(place.shape, missing)
        found[place] = values
        return found

    nats = table(scores.nats, math.inf)
    labels = np.array([item.label for item in items])
    answers = [answer for item in items for answer in item.answers]
    # `max`: a choice may be empty in a damaged file; it then counts as one character.
    lengths = {
        "norm": [max(1, len(answer)) for answer in answers],
        "len_norm": [len(continuation) for item in items for _, continuation in item.pairs],
        "bytes": [max(1, utf8_length(answer)) for answer in answers],
        "tokens": scores.tokens,
    }
    columns = {"correct": shared_ties(nats, labels)}
    for name, of_choices in lengths.items():
        columns[f"correct_{name}"] = shared_ties(nats / table(of_choices, 1.0), labels)
    true = [item.pairs[item.label] for item in items]
    columns |= {"chance": guess(items), **_bits(nats[np.arange(len(labels)), labels], true)}
    owners = np.repeat(np.arange(len(items)), counts)
    tied = np.logical_or.reduce([_is_tied(column) for name, column in columns.items() if name.startswith("correct")])
    return Measurement(columns, counts=_listed(scores.cut, np.flatnonzero(tied), np.unique(owners[scores.fused])))


def _is_tied(counts: np.ndarray) -> np.ndarray:
    return (counts > 0) & (counts < 1)


def _listed(cut: int, tied: np.ndarray, fused: np.ndarray) -> dict[str, Any]:
    """Return counts for the result file: the items that other programs may score otherwise."""
    lists = {"ties": tied.tolist(), "fused": fused.tolist()}
    return {"cut": cut, **{name: numbers for name, numbers in lists.items() if numbers}}


def _bits(nats: np.ndarray, pairs: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Return the columns nats, bytes and bits (per byte) of true continuations, their space too."""
    size = np.array([utf8_length(continuation) for _, continuation in pairs], dtype=np.float64)
    return {"nats": nats, "bytes": size, "bits": nats / math.log(2) / size}


def utf8_length(text: str) -> int:
    """Return the number of bytes of a text, in which half a surrogate pair counts as U+FFFD."""
    return len(text.encode("utf-8", "surrogatepass"))


def measure_pairs(model: LanguageModel, items: Sequence[Pair]) -> Measurement:
    """Return whether the good sentence of each pair is likelier, after the end of another text."""
    scores = model.continuations([("", sentence) for pair in items for sentence in (pair.good, pair.bad)])
    nats = scores.nats.reshape(-1, 2)
    correct = shared_ties(nats, np.zeros(len(items), dtype=int))
    columns = {"correct": correct, "nats_good": nats[:, 0], "nats_bad": nats[:, 1]}
    columns["chance"] = np.full(len(items), 0.5)
    counts = _listed(scores.cut, np.flatnonzero(_is_tied(correct)), np.empty(0, dtype=int))
    groups = sorted({pair.group for pair in items})
    if any(groups):
        columns["group"] = np.array([groups.index(pair.group) for pair in items])
        counts["groups"] = {name: _of_group(columns, number) for number, name in enumerate(groups)}
    return Measurement(columns, counts=counts)


def _of_group(columns: Columns, number: int) -> dict[str, float]:
    estimate = PAIR_METRICS["accuracy"].estimate(in_group(columns, number))
    found = {"accuracy": estimate.value, "items": len(estimate.influence)}
    return found if len(estimate.influence) == 1 else {**found, "standard_error": estimate.standard_error}


def measure_cloze(model: LanguageModel, items: Sequence[Completion]) -> Measurement:
    """Return nats and bits of each continuation, and whether greedy decoding writes it."""
    pairs = [(item.context, item.continuation) for item in items]
    scores = model.continuations(pairs)
    columns = {**_bits(scores.nats, pairs), "correct": scores.greedy, "chance": np.zeros(len(items))}
    return Measurement(columns, counts=_listed(scores.cut, np.empty(0, dtype=int), np.flatnonzero(scores.fused)))


def measure_answers(model: LanguageModel, items: Sequence[Completion]) -> Measurement:
    """Return nats, bytes and bits of each true answer."""
    pairs = [(item.context, item.continuation) for item in items]
    scores = model.continuations(pairs)
    listed = _listed(scores.cut, np.empty(0, dtype=int), np.flatnonzero(scores.fused))
    return Measurement(_bits(scores.nats, pairs), counts=listed)


def measure_generation(
    model: LanguageModel,
    items: Sequence[Prompt],
    *,
    match: str = "normalised",
    max_new_tokens: int = 32,
    stop: Sequence[str] = ("\n",),
) -> Measurement:
    """Return whether what greedy decoding writes matches an answer.

    Args:
        match: a name in `MATCHES`.
    """
    prompts = [item.prompt for item in items]
    texts = model.generate(prompts, max_new_tokens, stop)
    matches = MATCHES[match]
    right = [any(matches(text, answer) for answer in item.answers) for text, item in zip(texts, items, strict=True)]
    columns = {"correct": np.array(right, dtype=np.float64), "chance": np.zeros(len(items))}
    settings = {"match": match, "max_new_tokens": max_new_tokens, "stop": list(stop)}
    return Measurement(columns, settings, counts={"cut": model.cut_prompts(prompts, max_new_tokens)})


def _plain(text: str) -> str:
    """Return a text in small letters, without punctuation and extra blanks."""
    return " ".join("".join(character for character in text.lower() if character not in string.punctuation).split())


def normalised(text: str) -> str:
    """Return a text in small letters, without punctuation, articles and extra blanks.

    Source: Rajpurkar et al. 2016, "SQuAD", whose script compares answers so.
    """
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", _plain(text)).split())


def _alike(text: str, answer: str) -> tuple[str, str]:
    """Return both texts normalised, as far as something is left of the answer: the letter A is an
    article, and a question mark is punctuation.
    """
    form = next((form for form in (normalised, _plain) if form(answer)), str.strip)
    return form(text), form(answer)


def _number(text: str) -> Decimal | None:
    # A hyphen between two numbers is no sign.
    found = re.findall(r"(?:(?<!\w)-)?\d[\d,]*(?:\.\d+)?", text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _contains(text: str, answer: str) -> bool:
    text, answer = _alike(text, answer)
    return f" {answer} " in f" {text} "


MATCHES: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda text, answer: text.strip() == answer.strip(),
    "normalised": lambda text, answer: len(set(_alike(text, answer))) == 1,
    "begins": lambda text, answer: text.strip().startswith(answer.strip()),
    "contains": _contains,
    "number": lambda text, answer: _number(answer) is not None and _number(text) == _number(answer),
}
"""How a text that the model wrote may match an answer. `number` compares the last numbers."""


@dataclass(frozen=True)
class Form:
    """How items of one form are measured."""

    unit: str
    """What an item is called, in the plural."""
    measure: Callable[..., Measurement]
    metrics: Mapping[str, Metric]
    shown: tuple[str, ...]
    """The metrics that tables show; the result file has all."""


FORMS: dict[str, Form] = {
    "choice": Form("questions", measure_choices, CHOICE_METRICS, ("accuracy", "accuracy_norm", "bits_per_byte")),
    "schema": Form("questions", measure_choices, CHOICE_METRICS, ("accuracy", "accuracy_norm")),
    "pairs": Form("pairs", measure_pairs, PAIR_METRICS, ("accuracy",)),
    "cloze": Form("passages", measure_cloze, CLOZE_METRICS, ("accuracy", "perplexity", "bits_per_byte")),
    "answer": Form("answers", measure_answers, ANSWER_METRICS, ("bits_per_byte",)),
    "generate": Form("prompts", measure_generation, GENERATE_METRICS, ("exact_match",)),
}


def checked_question(where: str, context: str, choices: Sequence[Any], label: Any) -> Question:
    """Return a question after checking its parts.

    Raises:
        UserError: there are fewer than two choices, one is not a text, or none has the label.
    """
    if len(choices) < 2 or not all(isinstance(choice, str) for choice in choices):
        raise UserError(f"{where}: a question needs two choices or more, and each must be a text.")
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(choices) or isinstance(label, bool):
        raise UserError(
            f"{where}: the label is {label!r}, but it must be 0 to {len(choices) - 1}, the number of the true choice. "
            "Test sets without labels cannot be scored: take the validation set."
        )
    return Question(context, tuple(choices), number)


def task_of_form(form: str, **fields: Any) -> Task:
    """Return a task whose items have a form, which gives the fields of `Task` that are left out."""
    known = FORMS[form]
    of_form = {"unit": known.unit, "measure": known.measure, "metrics": known.metrics, "shown": known.shown}
    return Task(**{**of_form, **fields, "form": form})


def choice_task(
    name: str, files: BenchmarkFiles, read: Callable[[Source], Sequence[Any]], *, variant: str, **fields: Any
) -> Task:
    """Return a task of `Question`, which lm-eval has under the same name."""
    theirs = LmEvalTask(
        name,
        lambda items: [{"query": q.context, "choices": list(q.choices), "label": q.label} for q in items],
        {
            "output_type": "multiple_choice",
            "doc_to_text": "{{query}}",
            "doc_to_target": "{{label}}",
            "doc_to_choice": "choices",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
    )
    return task_of_form(
        "choice", files=files, read=read, variant=variant, requests_variant=variant, lm_eval=theirs, **fields
    )


def requests_task(form: str, title: str, requests: str, variant: str, shots: int) -> Task:
    """Return a task whose items are ready requests, and are in no other file."""

    def read(source: Source) -> list[Any]:
        raise UserError(f"{title} has no file of its own here. Its items are the ready requests {requests}.")

    files = BenchmarkFiles(title, ())
    return task_of_form(
        form, files=files, read=read, requests=requests, variant=variant, requests_variant=variant, shots=shots
    )
