"""Tokens are scored once each, with the context that the convention gives them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.evaluation.evaluated_model import EvaluatedModel, encode_pair, score
from gpt_research.evaluation.windows import Window, rolling_windows, sliding_windows


def nats_by_hand(evaluated: EvaluatedModel, tokens: list[int], place: int) -> tuple[float, bool]:
    """Return -ln p of the token at `place` given all before it in `tokens`, by a forward pass of
    its own.
    """
    with torch.no_grad():
        logits = evaluated.model(torch.tensor([tokens[:place]]))[0, -1].double()
    return -logits.log_softmax(-1)[tokens[place]].item(), int(logits.argmax()) == tokens[place]


def test_scores_are_those_of_a_forward_pass_for_each_token(evaluated: EvaluatedModel) -> None:
    tokens = evaluated.tokenizer.encode("the king takes the sword. a fool loves the horse. the queen gives the crown")
    windows = [Window(tokens[a:b], n) for a, b, n in ((0, 18, 17), (3, 9, 1), (0, 18, 4), (5, 15, 9), (1, 3, 1))]
    for tokens_per_batch in (1, 40, 10_000):
        found = score(evaluated.model, windows, evaluated.runtime, tokens_per_batch)
        for window, scores in zip(windows, found, strict=True):
            read = list(window.tokens)
            expected = [nats_by_hand(evaluated, read, i) for i in range(len(read) - window.scored, len(read))]
            assert scores.nats == pytest.approx([nats for nats, _ in expected], abs=1e-5)
            assert scores.greedy.tolist() == [greedy for _, greedy in expected]
    assert any(scores.greedy.any() for scores in found), "a model that is never right would hide a mistake"


@pytest.mark.parametrize("context", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("first", [1, 4])
def test_rolling_windows_score_each_token_once_in_full_windows(context: int, first: int) -> None:
    for length in range(first + 1, 30):
        scored: list[int] = []
        for window in rolling_windows(range(length), first, context):
            tokens = list(window.tokens)
            assert 1 <= window.scored <= len(tokens) - 1 <= context
            scored += tokens[-window.scored :]
        assert scored == list(range(first, length))
        assert len(tokens) == min(length, context + 1), "the last window fills the context"


@pytest.mark.parametrize(("context", "stride"), [(8, 8), (8, 4), (8, 1), (2, 1), (8, 5), (100, 100)])
@pytest.mark.parametrize("count", [2, 8, 9, 16, 17, 31])
def test_sliding_windows_are_those_of_the_guide(count: int, context: int, stride: int) -> None:
    expected, previous_end = [], 0
    for begin in range(0, count, stride):  # the guide's loop: labels before the last trg_len are masked,
        end = min(begin + context, count)  # and the shift takes the first label of the window away
        trg_len = end - previous_end
        labels = [t >= end - begin - trg_len for t in range(end - begin)]
        expected += [(begin, begin + t) for t in range(1, end - begin) if labels[t]]
        previous_end = end
        if end == count:
            break
    found = [(begin, t) for begin, first, end in sliding_windows(count, context, stride) for t in range(first, end)]
    assert found == expected
    if stride < context:
        assert [t for _, t in found] == list(range(1, count))


def test_a_continuation_beyond_the_context_keeps_every_token_and_is_counted(evaluated: EvaluatedModel) -> None:
    tokens = evaluated.tokenizer.encode("the king takes the sword. " * 20)[:70]
    short = dataclasses.replace(evaluated, context=16)
    pairs = [(tokens[:5], tokens[5:12]), (tokens[:40], tokens[40:50]), (tokens[:5], tokens[5:40])]
    found = short.token_continuations(pairs)
    assert found.cut == 2
    second = sum(nats_by_hand(evaluated, tokens[33:50], i)[0] for i in range(7, 17))
    assert found.nats[1] == pytest.approx(second, rel=1e-5), "cut on the left to context + 1 tokens"
    third = sum(score(evaluated.model, [Window(tokens[4:21], 16)], evaluated.runtime, 99)[0].nats)
    third += sum(score(evaluated.model, [Window(tokens[20:37], 16)], evaluated.runtime, 99)[0].nats)
    third += sum(score(evaluated.model, [Window(tokens[23:40], 3)], evaluated.runtime, 99)[0].nats)
    assert found.nats[2] == pytest.approx(third, rel=1e-5)


def test_blanks_before_a_continuation_belong_to_it(evaluated: EvaluatedModel) -> None:
    encode = evaluated.tokenizer.encode
    before, after, _ = encode_pair(evaluated.tokenizer, "the king \n ", "takes")
    assert before == encode("the king")
    assert before + after == encode("the king \n takes")
    alone = encode_pair(evaluated.tokenizer, "", " takes")
    assert alone == ([evaluated.tokenizer.end_of_text], encode(" takes"), False)


def border_cases(evaluated: EvaluatedModel) -> list[tuple[str, str]]:
    """Contexts and continuations that a token crosses: alone, and with more text after it."""
    texts = [("the ki", "ng"), ("the que", "en gives"), ("a foo", "l loves the horse"), ("my lord takes the cr", "own")]
    for before, after in texts:
        context, whole = evaluated.tokenizer.encode(before), evaluated.tokenizer.encode(before + after)
        assert whole[: len(context)] != context, "the tokenizer must have a token across the border"
    return texts


def test_a_continuation_that_shares_a_token_with_its_context_is_scored_in_whole(evaluated: EvaluatedModel) -> None:
    pairs = border_cases(evaluated)
    found = evaluated.continuations(pairs)
    for number, (before, after) in enumerate(pairs):
        context, rest, is_fused = encode_pair(evaluated.tokenizer, before, after)
        assert is_fused
        assert found.fused[number]
        assert context == evaluated.tokenizer.encode(before)
        assert evaluated.tokenizer.decode(rest) == after, "no byte of it may go unscored"
        by_hand = [nats_by_hand(evaluated, context + rest, len(context) + i) for i in range(len(rest))]
        assert found.nats[number] == pytest.approx(sum(nats for nats, _ in by_hand), abs=1e-4)
        assert found.nats[number] > 0.01, "the model is not certain of it"


@pytest.mark.parametrize("before", ["the king", ""])
def test_an_empty_continuation_is_refused_in_words(evaluated: EvaluatedModel, before: str) -> None:
    with pytest.raises(UserError, match=r"continuation .* is empty, so there is nothing to score"):
        evaluated.continuations([("the king", " takes"), (before, "")])
    with pytest.raises(UserError, match="continuation has no token"):
        evaluated.token_continuations([([1, 2], [])])


def test_bf16_keeps_the_head_exact(evaluated: EvaluatedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, logits = [], evaluated.model.logits
    monkeypatch.setattr(evaluated.model, "logits", lambda h: seen.append(logits(h)) or seen[-1])
    tokens = evaluated.tokenizer.encode("the king takes the sword. a fool loves")
    exact = score(evaluated.model, [Window(tokens, len(tokens) - 1)], evaluated.runtime, 99)[0].nats
    half = score(evaluated.model, [Window(tokens, len(tokens) - 1)], startup.start("cpu", "bf16"), 99)[0].nats
    assert {t.dtype for t in seen} == {torch.float32}
    assert not np.array_equal(half, exact), "the rest is in bf16"
    assert half == pytest.approx(exact, abs=0.1)
