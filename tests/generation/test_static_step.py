"""Steps of fixed shapes, which a GPU records, give token for token what the others give."""

from __future__ import annotations

import gc
import random
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.startup import cuda_is_usable
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation import static_step, torch_engine
from gpt_research.generation.engine import Request, Sample
from gpt_research.generation.recording import Compute, NothingWaits, Recorder
from gpt_research.generation.static_sampling import Work
from gpt_research.generation.static_step import DeviceRows, Shape
from gpt_research.generation.torch_engine import TorchEngine
from gpt_research.model.fast.packed import pack
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import ATTENTION, POSITIONS, CausalSelfAttention
from gpt_research.model_config import GPTConfig

DRAWN = GenerateConfig(temperature=2.0, top_k=0, max_new_tokens=12)
LONG = "the king takes the crown and my lord the fool gives the queen a letter"
REQUESTS = [
    Request("a", GenerateConfig(temperature=0, max_new_tokens=70)),
    Request(LONG[:50], GenerateConfig(temperature=1.5, top_k=5, max_new_tokens=90, seed=3)),
    Request(LONG[:50], GenerateConfig(temperature=1.5, top_k=5, max_new_tokens=90, seed=3), number=1, logprobs=3),
    Request("", GenerateConfig(temperature=2.0, top_k=0, top_p=0.8, max_new_tokens=40, stop=["e", "th"])),
    Request("my lord", GenerateConfig(temperature=2.0, top_k=0, min_p=0.02, max_new_tokens=5, seed=8), logprobs=1),
    Request("my lord", GenerateConfig(temperature=0, repetition_penalty=2.0, max_new_tokens=30)),
    Request("queen", GenerateConfig(temperature=1.0, top_k=0, repetition_penalty=1.3, max_new_tokens=50)),
    Request("queen", GenerateConfig(temperature=1.7, top_k=9, top_p=0.6, min_p=0.01, max_new_tokens=140)),
]


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of a few tokens cross windows, and use up the numbers that were sent ahead."""
    monkeypatch.setattr(static_step, "NARROWEST", 8)
    monkeypatch.setattr(static_step, "AHEAD", 7)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the king takes the crown", "my lord the fool gives the queen a letter"], 280)


def make(tokenizer: Tokenizer, **shape: Any) -> GPT:
    """A model with large weights, so that its probabilities are far from uniform."""
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 64, "tie_weights": False, **shape}
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **sizes))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def packed(tokenizer: Tokenizer, precision: str, positions: str) -> GPT:
    model = make(tokenizer, positions=positions)
    if precision == "bf16 throughout":  # as on a GPU
        return model.to(torch.bfloat16)
    return pack(model, Runtime(torch.device("cpu"), precision), rows=4)  # type: ignore[arg-type]


def finish(engine: TorchEngine) -> dict[int, Sample]:
    """The samples that end from now on, by request."""
    pieces = []
    while engine.busy:
        pieces += engine.step()
    return {piece.id: piece.sample for piece in pieces if piece.sample is not None}


def same(found: Sample, expected: Sample, within: float = 1e-4) -> None:
    assert (found.text, found.tokens, found.ended) == (expected.text, expected.tokens, expected.ended)
    assert found.logprobs == pytest.approx(expected.logprobs, abs=within)


def nearly_the_same(found: dict[int, Sample], expected: dict[int, Sample]) -> None:
    """A wider window adds up in another order. In 16 bits that now and then decides between two
    tokens, and what comes after it is another text."""
    assert sum(found[id].tokens == expected[id].tokens for id in expected) >= len(expected) // 2
    for id, sample in expected.items():
        pairs = enumerate(zip(found[id].tokens, sample.tokens, strict=False))
        common = next((at for at, (one, other) in pairs if one != other), len(sample.tokens))
        assert common >= 3
        assert found[id].logprobs[:common] == pytest.approx(sample.logprobs[:common], abs=0.2)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16 throughout"])
def test_a_batch_of_unequal_texts_has_the_tokens_of_the_other_way(
    tokenizer: Tokenizer, precision: str, positions: str
) -> None:
    model = packed(tokenizer, precision, positions)
    both = []
    for static in (False, True):
        engine, pieces = TorchEngine(model, tokenizer, static=static), []
        for request in REQUESTS:
            engine.add(request)
        while engine.busy:
            pieces += engine.step()
        both.append((pieces, {piece.id: piece.sample for piece in pieces if piece.sample is not None}))
    (dynamic, expected), (static_pieces, found) = both
    if precision == "fp32":
        for id in range(len(REQUESTS)):
            same(found[id], expected[id])
        for one, other in zip(static_pieces, dynamic, strict=True):
            assert (one.id, one.text, one.slid) == (other.id, other.text, other.slid)
            for ours, theirs in zip(one.alternatives, other.alternatives, strict=True):
                assert list(ours) == list(theirs)
                assert list(ours.values()) == pytest.approx(list(theirs.values()), abs=1e-4)
    elif model.token_embedding.weight.dtype == torch.float32:  # products in bf16 and fp32 around them
        assert [found[id].tokens for id in found] == [expected[id].tokens for id in found]
    else:
        nearly_the_same(found, expected)
    assert any(piece.slid for piece in dynamic), "no text crossed the context"


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_joining_and_cancelling_changes_no_sample(tokenizer: Tokenizer, seed: int) -> None:
    rng, model = random.Random(seed), make(tokenizer, block_size=24)
    requests = [
        Request(
            rng.choice(["a", "the king and the fool", "", "my lord the queen"]),
            GenerateConfig(
                temperature=rng.choice([0, 1.5]),
                top_k=rng.choice([0, 7]),
                top_p=rng.choice([1.0, 0.7]),
                repetition_penalty=rng.choice([1.0, 1.4]),
                max_new_tokens=rng.choice([1, 3, 10, 60]),
                seed=rng.randrange(3),
            ),
            number=rng.randrange(3),
            logprobs=rng.choice([None, 3]),
        )
        for _ in range(14)
    ]
    engine, samples, cancelled = TorchEngine(model, tokenizer, max_rows=5, static=True), {}, set()
    waiting = list(requests)
    while waiting or engine.busy:
        for _ in range(min(rng.choice([0, 0, 1, 5]), len(waiting))):
            engine.add(waiting.pop(0))
        if rng.random() < 0.05:
            cancelled.add(id := rng.randrange(len(requests) - len(waiting) or 1))
            engine.cancel(id)
        samples |= {piece.id: piece.sample for piece in engine.step() if piece.sample is not None}
    assert set(samples) | cancelled == set(range(len(requests)))
    for id, sample in samples.items():
        alone = TorchEngine(model, tokenizer, static=False)
        alone.add(requests[id])
        same(sample, finish(alone)[0])


def test_a_context_of_one_token_works(tokenizer: Tokenizer) -> None:
    model, both = make(tokenizer, block_size=1), []
    for static in (False, True):
        engine = TorchEngine(model, tokenizer, static=static)
        engine.add(Request("a", replace(DRAWN, max_new_tokens=9)))
        both.append(finish(engine)[0])
    same(both[1], both[0])


def test_memory_is_for_the_window_and_given_back(tokenizer: Tokenizer) -> None:
    engine = TorchEngine(make(tokenizer), tokenizer, static=True)
    capacities = []
    for max_new_tokens in (4, 12, 1000):
        engine.add(Request("a", replace(DRAWN, max_new_tokens=max_new_tokens)))
        engine.step()
        capacities.append(engine._decoder.capacity)
    assert capacities == [8, 16, 64]
    storage = weakref.ref(engine._decoder.cache.storage)  # type: ignore[union-attr]
    gc.disable()  # as training does
    try:
        finish(engine)
        assert storage() is None
    finally:
        gc.enable()


class Copies(TorchFunctionMode):
    """Counts the times that the program asks a tensor for its values, or sends it elsewhere."""

    ASKS = ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.sent = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.ASKS:
            self.asked.append(name)
        if name == "to" and any(isinstance(x, torch.device) for x in args):
            self.sent += 1
        return func(*args, **(kwargs or {}))


def test_a_token_is_one_question_to_the_device(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_step, "AHEAD", 64)
    model = make(tokenizer, block_size=128)
    asked: dict[bool, tuple[list[str], int]] = {}
    for static in (False, True):
        engine = TorchEngine(model, tokenizer, static=static)
        for request in REQUESTS:
            engine.add(replace(request, settings=replace(request.settings, max_new_tokens=100, stop=[])))
        for _ in range(3):
            engine.step()
        with Copies() as copies:
            for _ in range(20):
                engine.step()
        asked[static] = copies.asked, copies.sent
    assert asked[True] == (["tolist"] * 20, 0)
    assert len(asked[False][0]) > 60
    assert asked[False][1] > 20


def on_meta(tokenizer: Tokenizer) -> DeviceRows:
    """Rows of a model that has shapes and no numbers. Asking for a number is an error there."""
    config = make(tokenizer).config
    with torch.device("meta"):
        model = GPT(config).eval()
    return DeviceRows(model, model.new_cache(5, 32), tokenizer.vocab_size)


EVERYTHING = Work(penalty=True, greedy=True, drawn=True, top_k=16, nucleus=280, min_p=True)


@pytest.mark.parametrize("work", [EVERYTHING, Work(False, True, False, 0, 0, False)])
def test_no_shape_depends_on_a_number_and_nothing_leaves_the_device(tokenizer: Tokenizer, work: Work) -> None:
    rows = on_meta(tokenizer)
    rows._seen = torch.zeros(5, tokenizer.vocab_size, dtype=torch.bool, device="meta")
    with torch.inference_mode(), NothingWaits():
        result = rows.step(Shape(16, work, 4), rows.window(16))
    assert (result.device.type, result.shape, result.dtype) == ("meta", (5, 2 + 2 * 4), torch.float64)


def replaying(recorded: list[int]) -> Callable[[Compute], Compute]:
    """What stands for CUDA graphs: to record a computation does not carry it out."""

    def record(compute: Compute) -> Compute:
        recorded.append(len(recorded))
        return compute

    return record


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_shape_is_recorded_when_it_comes_the_second_time(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, positions: str
) -> None:
    recorded: list[int] = []
    monkeypatch.setattr(static_step, "recorder", lambda device: Recorder(replaying(recorded)))
    model = make(tokenizer, positions=positions)
    with torch.no_grad():
        model.head.weight[tokenizer.end_of_text] = 0  # some other token has a logit far above 0
    engine, counts = TorchEngine(model, tokenizer, static=True), []
    engine.add(Request("a", GenerateConfig(temperature=0, max_new_tokens=40)))
    while engine.busy:
        engine.step()
        counts.append(len(recorded))
    # The first step reads the prompt. Windows have 8, 16, 32 and 64 columns.
    assert counts == [0, 0, *[1] * 7, *[2] * 8, *[3] * 16, *[4] * 7]


class Asking(CausalSelfAttention):
    """An attention that looks at a number on its way."""

    def forward(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return super().forward(x * (1 if x.abs().sum() > 0 else 0), *rest)


def test_a_model_that_asks_for_a_number_generates_without_a_recording(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[int] = []
    monkeypatch.setattr(static_step, "recorder", lambda device: Recorder(replaying(recorded)))
    monkeypatch.setitem(ATTENTION, "asking", Asking)
    expected, found = (
        TorchEngine(make(tokenizer, attention="asking"), tokenizer, static=static) for static in (False, True)
    )
    for engine in (expected, found):
        engine.add(REQUESTS[0])
    with pytest.warns(
        UserWarning, match=r"cannot be recorded: aten._local_scalar_dense.default makes the program wait"
    ):
        samples = finish(found)
    same(samples[0], finish(expected)[0])
    assert not recorded


def test_a_recording_that_fails_is_done_without(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(compute: Compute) -> Compute:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(static_step, "recorder", lambda device: Recorder(failing))
    model = make(tokenizer)
    expected, found = (TorchEngine(model, tokenizer, static=static) for static in (False, True))
    for engine in (expected, found):
        engine.add(REQUESTS[0])
    with pytest.warns(UserWarning, match=r"not permitted when stream is capturing$") as told:
        samples = finish(found)
    assert len(told) == 1
    same(samples[0], finish(expected)[0])


def test_a_row_of_nan_ends_in_a_sentence(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    engine = TorchEngine(model, tokenizer, static=True)
    engine.add(Request("a", DRAWN))
    engine.step()
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        engine.step()


def test_a_gpu_may_hold_a_quarter_of_its_memory_in_keys_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert torch_engine._room_for_cache(torch.device("cuda")) == 20 << 30
    assert torch_engine._room_for_cache(torch.device("cpu")) == torch_engine.LARGEST_CACHE


@pytest.mark.parametrize("warn_only", [False, True])
def test_a_run_of_deterministic_kernels_also_gets_its_samples(warn_only: bool) -> None:
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with suppress(ZeroDivisionError), torch_engine._any_kernel(torch.device("cuda")):
            assert not torch.are_deterministic_algorithms_enabled()
            raise ZeroDivisionError
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warn_only
        with torch_engine._any_kernel(torch.device("cpu")):
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_recordings_do_not_pile_up(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_step, "MOST_RECORDINGS", 2)
    engine = TorchEngine(make(tokenizer), tokenizer, static=True)
    engine.add(Request("a", replace(DRAWN, max_new_tokens=60)))
    for top_k in (1, 2, 4, 8):
        engine.add(Request("a", replace(DRAWN, top_k=top_k, max_new_tokens=2)))
        for _ in range(4):
            engine.step()
        assert engine._static_step is not None
        assert len(engine._static_step._computations) <= 2


NO_CARD = pytest.mark.skipif(not cuda_is_usable(), reason="there is no CUDA device")


@NO_CARD
@pytest.mark.parametrize("precision", ["fp32", "bf16 throughout"])
def test_a_card_records_its_steps_and_gives_the_same_tokens(tokenizer: Tokenizer, precision: str) -> None:
    model = make(tokenizer).to("cuda", torch.float32 if precision == "fp32" else torch.bfloat16)
    samples = []
    for static in (False, None):  # a card decodes with fixed shapes unless it is told otherwise
        engine = TorchEngine(model, tokenizer, static=static)
        for request in REQUESTS:
            engine.add(request)
        samples.append(finish(engine))
    nearly_the_same(samples[1], samples[0])
    if precision == "fp32":
        assert sum(samples[0][id].tokens != samples[1][id].tokens for id in samples[0]) <= 1


@NO_CARD
def test_a_recorded_step_never_waits(tokenizer: Tokenizer) -> None:
    engine = TorchEngine(make(tokenizer).to("cuda"), tokenizer)
    for request in REQUESTS:
        engine.add(request)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a recording that fails warns
        for _ in range(5):
            engine.step()
    step = engine._static_step
    assert step is not None
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = step._computation()()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.device.type == "cuda"
