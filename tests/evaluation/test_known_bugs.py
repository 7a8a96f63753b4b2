"""Each known bug of published scores gives another score than ours.

The wrong ways are in `evaluation.faults`, where the audit of published scores tries them too.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.faults import FAULTS
from gpt_research.evaluation.forms import (
    ANSWER_METRICS,
    CHOICE_METRICS,
    CLOZE_METRICS,
    PAIR_METRICS,
    Completion,
    Options,
    Pair,
    Question,
    guess,
    measure_answers,
    measure_choices,
    measure_cloze,
    measure_pairs,
    shared_ties,
    utf8_length,
)
from gpt_research.evaluation.statistics import Metric, shows_signal
from gpt_research.evaluation.task import Measurement

THINGS = ("crown", "sword", "letter", "horse")


@pytest.fixture(scope="module")
def uncertain(evaluated: EvaluatedModel) -> EvaluatedModel:
    """A model that finds every token equally likely after every text."""
    import copy

    model = copy.deepcopy(evaluated.model)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return dataclasses.replace(evaluated, model=model)


def wrong(name: str, model: EvaluatedModel) -> EvaluatedModel:
    """Return the model, asked in a known wrong way."""
    fault = FAULTS[name]
    assert fault.asks is not None
    return fault.asks(model)


def counted(name: str, found: Measurement, items: Sequence[Any], metric: Metric) -> float:
    """Return a score that is counted in a known wrong way."""
    fault = FAULTS[name]
    assert fault.counts is not None
    value = fault.counts(found, items, metric)
    assert value is not None
    return value


def test_a_model_that_knows_nothing_gets_the_score_of_a_guess(uncertain: EvaluatedModel) -> None:
    """BabyLM's evaluation pipeline, issue 34: the index of the highest score is that of the good
    sentence if both are equal, so such a model was right every time.
    """
    pairs = [Pair(f"the king takes the {thing}", f"the king gives the {thing}") for thing in THINGS]
    found = measure_pairs(uncertain, pairs)
    assert (found.columns["nats_good"] == found.columns["nats_bad"]).all()
    accuracy = PAIR_METRICS["accuracy"].estimate(found.columns)
    assert accuracy.value == 0.5
    assert counted("ties count as right", found, pairs, PAIR_METRICS["accuracy"]) == 1.0
    assert found.counts["ties"] == [0, 1, 2, 3]
    assert not shows_signal(accuracy, 0.5)

    questions = [Question("the king takes", tuple(f"the {thing}" for thing in THINGS), n) for n in range(4)]
    found = measure_choices(uncertain, questions)
    assert CHOICE_METRICS["accuracy"].estimate(found.columns).value == 0.25
    assert counted("ties count as right", found, questions, CHOICE_METRICS["accuracy"]) == 1.0
    assert counted("ties count as wrong", found, questions, CHOICE_METRICS["accuracy"]) == 0.0


def test_two_equal_choices_share_what_they_win(evaluated: EvaluatedModel) -> None:
    """To the last bit, though the two stand at different places of a row."""
    choices = ("takes the crown", "of of of", "takes the crown")
    found = measure_choices(evaluated, [Question("the king", choices, 2), Question("a fool", choices, 0)])
    assert found.columns["correct"].tolist() == [0.5, 0.5]
    assert found.counts["ties"] == [0, 1]


@pytest.mark.parametrize(
    ("costs", "label", "expected"),
    [([1, 2, 3], 0, 1), ([1, 2, 3], 1, 0), ([1, 1, 3], 1, 1 / 2), ([2, 1, 1], 0, 0), ([4, 4, 4], 2, 1 / 3)],
)
def test_ties_are_shared(costs: list[float], label: int, expected: float) -> None:
    assert shared_ties(np.array([costs], dtype=float), np.array([label]))[0] == expected


def test_questions_of_different_sizes_are_measured_together(evaluated: EvaluatedModel) -> None:
    items = [Question("the king", ("takes", "of", "the"), 0), Question("a fool", ("loves the horse", "the"), 0)]
    together = measure_choices(evaluated, items).columns
    for number, item in enumerate(items):
        alone = measure_choices(evaluated, [item]).columns
        assert together["correct_norm"][number] == alone["correct_norm"][0]
        assert together["nats"][number] == pytest.approx(alone["nats"][0], rel=1e-5)
    assert guess(items).tolist() == [1 / 3, 1 / 2]
    yes_no = [Question(text, ("no", "yes"), label) for text, label in (("a", 1), ("b", 1), ("c", 0), ("d", 1))]
    assert guess(yes_no[:1]).tolist() == [0.5], "one item tells no habit"
    assert guess(yes_no).tolist() == [0.75] * 4, "a model that always says yes is right three times of four"


def sentences(count: int = 40) -> list[Completion]:
    rng = random.Random(5)
    starts = ["the king", "my lord takes the crown. a fool", "the queen gives the sword. my lord loves the horse"]
    words = [(rng.choice(starts), rng.choice(["takes", "gives"]), rng.choice(THINGS)) for _ in range(count)]
    return [Completion(start, f" {verb} the {thing}") for start, verb, thing in words]


def test_padding_on_the_left_without_a_mask_changes_scores(evaluated: EvaluatedModel) -> None:
    """BabyLM's evaluation pipeline, issue 38."""
    items = sentences()
    ours = measure_answers(evaluated, items).columns["nats"]
    one_by_one = [measure_answers(evaluated, [item]).columns["nats"][0] for item in items]
    assert ours == pytest.approx(one_by_one, rel=1e-5), "a batch changes nothing"
    padded = measure_answers(wrong("left padding", evaluated), items).columns["nats"]
    assert np.abs(padded - ours).max() > 0.05


def test_sixteen_bits_make_ties_that_are_none(evaluated: EvaluatedModel) -> None:
    pairs = [
        Pair(f"{who} takes the {good}", f"{who} takes the {bad}")
        for who in ("the king", "a fool", "my lord", "the queen")
        for good in THINGS
        for bad in THINGS
        if good != bad
    ]
    ours = measure_pairs(evaluated, pairs)
    assert "ties" not in ours.counts
    half = measure_pairs(wrong("bf16 softmax", evaluated), pairs)
    assert half.counts["ties"], "differences below 2**-8 of a logarithm are lost"
    assert abs(half.columns["nats_good"] - ours.columns["nats_good"]).max() > 1e-3


def test_a_byte_is_neither_a_character_nor_a_token(evaluated: EvaluatedModel) -> None:
    items = [Completion("the king", " takes the café"), Completion("a fool", " loves – née")]
    found = measure_answers(evaluated, items)
    metric = ANSWER_METRICS["bits_per_byte"]
    assert found.columns["bytes"].tolist() == [16, 15]
    ours = metric.estimate(found.columns).value
    by_hand = [nats / np.log(2) / size for nats, size in zip(found.columns["nats"], (16, 15), strict=True)]
    assert ours == pytest.approx(np.mean(by_hand), rel=1e-12)
    for name in ("characters as bytes", "space not counted", "nats as bits"):
        assert counted(name, found, items, metric) != pytest.approx(ours, rel=0.01), name
    assert utf8_length("\ud83d") == 3, "half a surrogate pair is encoded as U+FFFD"


def test_a_context_that_is_too_long_loses_its_beginning_and_not_its_end(evaluated: EvaluatedModel) -> None:
    long = "my lord takes the crown. " * 12
    items = [Completion(long + start, f" takes the {thing}") for start in ("the king", "a fool") for thing in THINGS]
    ours, cut = measure_answers(evaluated, items), measure_answers(wrong("cut on the right", evaluated), items)
    assert ours.counts["cut"] == cut.counts["cut"] == len(items)
    kept = evaluated.tokenizer.decode(evaluated.tokenizer.encode(items[0].context)[-30:])
    shorter = measure_answers(evaluated, [Completion(kept, items[0].continuation)])
    assert ours.columns["nats"][0] == pytest.approx(shorter.columns["nats"][0], abs=0.3), "the end is what counts"
    assert np.abs(cut.columns["nats"] - ours.columns["nats"]).max() > 0.5
    halved = measure_answers(wrong("half the context", evaluated), sentences()[:20] + items)
    assert halved.counts["cut"] > len(items) - 1


def test_a_token_across_the_border_is_scored(evaluated: EvaluatedModel) -> None:
    items = [Completion("the ki", "ng"), Completion("the que", "en gives"), Completion("a foo", "l loves the horse")]
    ours, fused = measure_cloze(evaluated, items), measure_cloze(wrong("fused continuations", evaluated), items)
    assert ours.counts["fused"] == [0, 1, 2]
    assert (ours.columns["nats"] > fused.columns["nats"]).all(), "what is not scored looks certain"
    assert fused.columns["nats"][0] == 0.0, "nothing of the word is left"
    metric = CLOZE_METRICS["perplexity"]
    assert metric.estimate(fused.columns).value < metric.estimate(ours.columns).value


@pytest.mark.parametrize("name", ["no start", "space first"])
def test_a_sentence_begins_a_text(name: str, evaluated: EvaluatedModel) -> None:
    pairs = [Pair(f"the {thing} takes", f"{thing} the takes") for thing in THINGS]
    ours, other = measure_pairs(evaluated, pairs), measure_pairs(wrong(name, evaluated), pairs)
    assert np.abs(ours.columns["nats_good"] - other.columns["nats_good"]).min() > 1e-3
    tokens = evaluated.tokenizer.encode(pairs[0].good)
    with torch.no_grad():
        logits = evaluated.model(torch.tensor([[evaluated.tokenizer.end_of_text, *tokens[:-1]]]))[0]
    by_hand = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens), reduction="sum")
    assert ours.columns["nats_good"][0] == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_schema_asks_after_each_context(evaluated: EvaluatedModel) -> None:
    schema = Options(("the king takes the", "the the the"), (" crown", " crown"), 0)
    found = measure_choices(evaluated, [schema])
    nats = evaluated.continuations(schema.pairs).nats
    assert found.columns["correct"][0] == float(nats[0] < nats[1])
    assert found.columns["nats"][0] == pytest.approx(nats[0], rel=1e-6)


def test_metrics_are_those_of_olmo_core(evaluated: EvaluatedModel) -> None:
    """The values were computed by `olmo_eval.metrics.ICLMetric` from these log-likelihoods."""

    class Given:
        context = 48

        def continuations(self, pairs: Sequence[tuple[str, str]]) -> Any:
            nats = -np.array(OLMO_LOG_P)
            return dataclasses.replace(evaluated.continuations(pairs), nats=nats)

    items = [Question("Q:", choices, label) for choices, label in OLMO_QUESTIONS]
    found = measure_choices(Given(), items)  # type: ignore[arg-type]
    for name, value in OLMO_SCORES.items():
        assert CHOICE_METRICS[name].estimate(found.columns).value == pytest.approx(value, abs=1e-6), name


OLMO_QUESTIONS = [(("a crown", "née"), 0), (("the sword of gold", "horse", "letters"), 2), (("no", "yes"), 1),
                  (("a", "abcd"), 0)]  # fmt: skip
OLMO_LOG_P = [-3.5, -2.25, -9.0, -6.5, -6.75, -1.5, -1.25, -1.0, -3.0]
OLMO_SCORES = {"accuracy": 0.5, "accuracy_len_norm": 0.75, "bits_per_byte": 0.7551606893539429}
"""acc, len_norm and bpb_v2 there."""
