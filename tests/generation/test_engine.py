"""Requests join and leave a running batch, and each sample is the same as alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.engine import Piece, Request, Sample, stream_samples
from gpt_research.generation.torch_engine import TorchEngine, generate
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

DRAWN = GenerateConfig(temperature=2.0, top_k=0, max_new_tokens=12)
PROMPTS = ["a", "the king and the fool", "", "my lord the queen"]
MIXED = [
    Request("a", GenerateConfig(temperature=0, max_new_tokens=9)),
    Request("the king", GenerateConfig(temperature=1.5, top_k=5, max_new_tokens=14, seed=3)),
    Request("the king", GenerateConfig(temperature=1.5, top_k=5, max_new_tokens=14, seed=3), number=1),
    Request("", GenerateConfig(temperature=2.0, top_k=0, top_p=0.8, max_new_tokens=40, stop=["e", "th"])),
    Request("my lord", GenerateConfig(temperature=2.0, top_k=0, min_p=0.02, max_new_tokens=5, seed=8)),
    Request("my lord", GenerateConfig(temperature=0, repetition_penalty=2.0, max_new_tokens=30)),
    Request("queen", GenerateConfig(temperature=1.0, top_k=0, repetition_penalty=1.3, max_new_tokens=50)),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the king takes the crown", "my lord the fool gives the queen a letter"], 280)


@pytest.fixture(scope="module", params=["learned", "sinusoidal"])
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> GPT:
    """A model with large weights, so that its probabilities are far from uniform."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 24, "tie_weights": False}
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, positions=request.param, **shape))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def alone(model: GPT, tokenizer: Tokenizer, request: Request) -> Sample:
    """The sample that a request gets from an engine of its own."""
    engine = TorchEngine(model, tokenizer)
    engine.add(request)
    return finish(engine)[0]


def finish(engine: TorchEngine) -> dict[int, Sample]:
    """The samples that end from now on, by request."""
    pieces = []
    while engine.busy:
        pieces += engine.step()
    return {piece.id: piece.sample for piece in pieces if piece.sample is not None}


def same(found: Sample, expected: Sample) -> None:
    assert (found.text, found.tokens, found.ended) == (expected.text, expected.tokens, expected.ended)
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_a_request_that_joins_a_running_batch_gets_what_it_gets_alone(model: GPT, tokenizer: Tokenizer) -> None:
    engine, samples = TorchEngine(model, tokenizer), {}
    for request in MIXED:
        engine.add(request)
        for _ in range(3):
            samples |= {piece.id: piece.sample for piece in engine.step() if piece.sample is not None}
    samples |= finish(engine)
    for id, request in enumerate(MIXED):
        same(samples[id], alone(model, tokenizer, request))


def test_requests_of_one_batch_have_settings_of_their_own(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    ids = [engine.add(request) for request in MIXED]
    assert ids == list(range(len(MIXED)))
    samples = finish(engine)
    for id, request in zip(ids, MIXED, strict=True):
        same(samples[id], alone(model, tokenizer, request))
        assert len(samples[id].tokens) <= request.settings.max_new_tokens
    assert samples[1].tokens != samples[2].tokens


def test_a_stop_text_ends_the_requests_that_name_it_alone(model: GPT, tokenizer: Tokenizer) -> None:
    request = Request("the king", replace(DRAWN, max_new_tokens=30))
    whole = alone(model, tokenizer, request).text
    stopping = replace(request, settings=replace(request.settings, stop=[whole[5:7]]))
    engine = TorchEngine(model, tokenizer)
    for asked in (request, stopping, request):
        engine.add(asked)
    samples = finish(engine)
    assert (samples[1].text, samples[1].ended) == (whole[: whole.index(whole[5:7])], "stop")
    assert samples[0].text == samples[2].text == whole


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_joining_and_cancelling_changes_no_sample(model: GPT, tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    requests = [
        Request(
            rng.choice(PROMPTS),
            GenerateConfig(
                temperature=rng.choice([0, 1.5]),
                top_k=rng.choice([0, 7]),
                repetition_penalty=rng.choice([1.0, 1.4]),
                max_new_tokens=rng.choice([1, 3, 10, 60]),
                seed=rng.randrange(3),
            ),
            number=rng.randrange(3),
        )
        for _ in range(14)
    ]
    engine, waiting, samples, cancelled = TorchEngine(model, tokenizer, max_rows=4), list(requests), {}, set()
    while waiting or engine.busy:
        for _ in range(min(rng.choice([0, 0, 1, 5]), len(waiting))):
            engine.add(waiting.pop(0))
        if rng.random() < 0.05:
            cancelled.add(id := rng.randrange(len(requests) - len(waiting) or 1))
            engine.cancel(id)
        samples |= {piece.id: piece.sample for piece in engine.step() if piece.sample is not None}
    assert set(samples) | cancelled == set(range(len(requests)))
    for id, sample in samples.items():
        same(sample, alone(model, tokenizer, requests[id]))


def test_a_cancelled_request_is_silent_and_its_row_goes_to_the_next(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer, max_rows=2)
    long = replace(DRAWN, max_new_tokens=60)
    first, second, third = (engine.add(Request("a", replace(long, seed=seed))) for seed in range(3))
    for _ in range(4):
        assert third not in {piece.id for piece in engine.step()}
    engine.cancel(first)
    pieces = engine.step()
    assert {piece.id for piece in pieces} <= {second, third}
    samples = finish(engine)
    assert first not in samples
    for id in (second, third):
        same(samples[id], alone(model, tokenizer, Request("a", replace(long, seed=id))))


def test_a_request_can_be_cancelled_before_it_starts_and_after_it_ended(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer, max_rows=1)
    first, second = engine.add(Request("a", DRAWN)), engine.add(Request("a", DRAWN))
    engine.step()
    engine.cancel(second)
    assert list(finish(engine)) == [first]
    engine.cancel(first)
    engine.cancel(99)
    assert engine.step() == []


def test_requests_beyond_the_rows_wait_in_order(model: GPT, tokenizer: Tokenizer) -> None:
    widths: list[int] = []
    hook = model.token_embedding.register_forward_hook(lambda module, inputs, output: widths.append(len(inputs[0])))
    engine = TorchEngine(model, tokenizer, max_rows=2)
    for seed in range(7):
        engine.add(Request("the king", replace(DRAWN, seed=seed, max_new_tokens=3 + seed % 2)))
    samples = finish(engine)
    hook.remove()
    assert max(widths) == 2
    assert sorted(samples) == list(range(7))
    assert list(samples)[:2] in ([0, 1], [1, 0])
    assert list(samples)[-1] in (5, 6)


def test_memory_is_given_back_when_nothing_is_written(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    for cancelled in (False, True):
        id = engine.add(Request("a", DRAWN))
        engine.step()
        assert engine._decoder.cache is not None
        if cancelled:
            engine.cancel(id)
        finish(engine)
        assert engine._decoder.cache is None
        assert not engine.busy


def test_memory_grows_with_what_requests_ask_for_up_to_the_context(model: GPT, tokenizer: Tokenizer) -> None:
    engine, capacities = TorchEngine(model, tokenizer), []
    for max_new_tokens in (4, 2, 9, 1000):
        engine.add(Request("a", replace(DRAWN, max_new_tokens=max_new_tokens)))
        engine.step()
        capacities.append(engine._decoder.capacity)
    assert capacities == [5, 5, 10, 24]


def test_a_text_that_ended_early_does_not_outgrow_its_memory(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    short = [Request("my lord the queen", replace(DRAWN, max_new_tokens=2, seed=seed)) for seed in range(2)]
    longer = [Request("a", replace(DRAWN, max_new_tokens=18, seed=seed)) for seed in range(3)]
    for request in (*short, *longer):
        engine.add(request)
    samples = finish(engine)  # the rows of the short ones stay in the batch, because three of five samples continue
    for id, request in enumerate((*short, *longer)):
        same(samples[id], alone(model, tokenizer, request))


@pytest.mark.parametrize("logprobs", [None, 0, 3])
def test_pieces_join_to_the_sample(model: GPT, tokenizer: Tokenizer, logprobs: int | None) -> None:
    engine = TorchEngine(model, tokenizer)
    requests = [replace(request, logprobs=logprobs) for request in MIXED]
    pieces: dict[int, list[Piece]] = {engine.add(request): [] for request in requests}
    while engine.busy:
        for piece in engine.step():
            pieces[piece.id].append(piece)
    for own in pieces.values():
        sample = own[-1].sample
        assert sample is not None
        assert [piece.sample for piece in own[:-1]] == [None] * (len(own) - 1)
        assert "".join(piece.text for piece in own) == sample.text
        assert [token for piece in own for token in piece.tokens] == sample.tokens
        assert [logprob for piece in own for logprob in piece.logprobs] == sample.logprobs
        assert sum(len(piece.alternatives) for piece in own) == (len(sample.tokens) if logprobs else 0)


def test_alternatives_are_the_models_most_likely_tokens(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    engine.add(Request("the king", replace(DRAWN, top_k=1), logprobs=4))
    engine.add(Request("a", DRAWN, logprobs=2))
    prompt, written, alternatives = tokenizer.encode("the king"), [], []
    while engine.busy:
        for piece in engine.step():
            if piece.id == 0:
                written += piece.tokens
                alternatives += piece.alternatives
    with torch.no_grad():
        scores = model(torch.tensor([prompt + written[:-1]]))[0, len(prompt) - 1 :].log_softmax(-1)
    for row, likeliest, token in zip(scores, alternatives, written, strict=True):
        assert list(likeliest) == row.topk(4).indices.tolist()
        assert list(likeliest.values()) == pytest.approx(row.topk(4).values.tolist(), abs=1e-4)
        assert next(iter(likeliest)) == token


def test_a_piece_says_whether_its_text_outgrew_the_context(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    engine.add(Request("a", replace(DRAWN, max_new_tokens=23)))
    engine.add(Request("a", replace(DRAWN, max_new_tokens=60)))
    slid: dict[int, list[tuple[int, bool]]] = {0: [], 1: []}
    written = [0, 0]
    while engine.busy:
        for piece in engine.step():
            written[piece.id] += len(piece.tokens)
            slid[piece.id].append((written[piece.id], piece.slid))
    assert not any(flag for _, flag in slid[0])
    assert all(flag == (length > 24) for length, flag in slid[1])


def test_a_prompt_is_read_once_however_long_its_samples_wait(model: GPT, tokenizer: Tokenizer) -> None:
    lengths: list[int] = []
    hook = model.token_embedding.register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].size(1)))
    engine = TorchEngine(model, tokenizer, max_rows=2)
    for number in range(6):
        engine.add(Request("the king", replace(DRAWN, max_new_tokens=2 + number % 2), number=number))
    finish(engine)
    hook.remove()
    assert [length for length in lengths if length > 1] == [len(tokenizer.encode("the king"))]


def test_token_ids_are_a_prompt_too(model: GPT, tokenizer: Tokenizer) -> None:
    ids = Request(tokenizer.encode("the king"), DRAWN)
    same(alone(model, tokenizer, ids), alone(model, tokenizer, Request("the king", DRAWN)))
    same(alone(model, tokenizer, Request([], DRAWN)), alone(model, tokenizer, Request("", DRAWN)))


def test_a_wrong_prompt_is_refused_and_the_others_go_on(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    engine.add(Request("a", DRAWN))
    for prompt, message in (("z" * 25, "25 tokens, but the model's context holds 24"), ([5, 280], "Token id 280")):
        with pytest.raises(UserError, match=message):
            engine.add(Request(prompt, DRAWN))
    same(finish(engine)[0], alone(model, tokenizer, Request("a", DRAWN)))


def test_samples_of_a_stream_that_is_closed_are_cancelled(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    pieces = stream_samples(engine, ["a", "the king"], replace(DRAWN, num_samples=2, max_new_tokens=100))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert not engine.busy


def test_an_engine_goes_on_after_it_was_idle(model: GPT, tokenizer: Tokenizer) -> None:
    engine = TorchEngine(model, tokenizer)
    for prompt in PROMPTS:
        id = engine.add(Request(prompt, DRAWN))
        same(finish(engine)[id], generate(model, tokenizer, prompt, DRAWN)[0])
