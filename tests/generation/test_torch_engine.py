"""A sample depends on weights, prompt, settings and its number, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.engine import Sample
from gpt_research.generation.torch_engine import generate, stream
from gpt_research.model.fast.packed import pack
from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import KVCache
from gpt_research.model_config import GPTConfig

GREEDY = GenerateConfig(temperature=0, max_new_tokens=40)
DRAWN = GenerateConfig(temperature=2.0, top_k=0, max_new_tokens=24)
PROMPTS = ["a", "the king and the fool", "", "my lord the queen"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the king takes the crown", "my lord the fool gives the queen a letter"], 280)


@pytest.fixture(scope="module", params=["learned", "sinusoidal"])
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> GPT:
    """A model with large weights, so that its probabilities are far from uniform."""
    return make(tokenizer, positions=request.param)


def make(tokenizer: Tokenizer, **shape: Any) -> GPT:
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16, "tie_weights": False, **shape}
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **sizes))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


class Scripted(GPT):
    """A model that writes given tokens, one after another, from the first position after the
    prompt.
    """

    def __init__(self, script: list[int], prompt_length: int, vocab_size: int, block_size: int = 64) -> None:
        super().__init__(GPTConfig(n_layer=1, n_head=1, n_embd=2, block_size=block_size, vocab_size=vocab_size))
        self.script, self.prompt_length = script, prompt_length

    def hidden(self, tokens: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        assert cache is not None
        return cache.extend(tokens.size(1)).expand(len(tokens), -1)[..., None]

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        index = (h[..., 0] + 1 - self.prompt_length).clamp(0, len(self.script) - 1)
        return 50.0 * torch.nn.functional.one_hot(torch.tensor(self.script)[index], self.config.vocab_size)


def write(tokenizer: Tokenizer, script: list[int], **settings: Any) -> tuple[Sample, list[str]]:
    """The sample and the pieces from a model that writes `script`."""
    model = Scripted(script, 1, tokenizer.vocab_size)
    pieces = list(stream(model, tokenizer, "x", GenerateConfig(temperature=0, **settings)))
    assert pieces[-1].sample is not None
    return pieces[-1].sample, [piece.text for piece in pieces]


@torch.no_grad()
def uncached(model: GPT, tokens: list[int], new_tokens: int) -> list[int]:
    """Greedy tokens from the whole window each time; a full window loses its older half."""
    window, written = list(tokens), []
    for _ in range(new_tokens):
        written.append(int(model(torch.tensor([window]))[0, -1].argmax()))
        if len(window) == model.config.block_size:
            window = window[-(model.config.block_size // 2) :]
        window.append(written[-1])
    return written


def until_end(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
    return tokens[: tokens.index(tokenizer.end_of_text) + 1] if tokenizer.end_of_text in tokens else tokens


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("packed_for", [None, 1, 16])
def test_cached_greedy_tokens_equal_uncached_ones_beyond_the_context(
    model: GPT, tokenizer: Tokenizer, prompt: str, packed_for: int | None
) -> None:
    prompt_tokens = tokenizer.encode(prompt) or [tokenizer.end_of_text]
    expected = until_end(uncached(model, prompt_tokens, 40), tokenizer)
    used = pack(model, Runtime(torch.device("cpu"), "fp32"), rows=packed_for) if packed_for else model
    sample = generate(used, tokenizer, prompt, GREEDY, notice=print)[0]
    assert sample.tokens == expected
    assert len(set(expected)) > 5  # the comparison would be weak if the text were one repeated token


@pytest.mark.parametrize("config", [GREEDY, DRAWN])
def test_a_sample_does_not_depend_on_its_batch(model: GPT, tokenizer: Tokenizer, config: GenerateConfig) -> None:
    together = generate(model, tokenizer, PROMPTS, config, notice=print)
    alone = [generate(model, tokenizer, prompt, config, notice=print)[0] for prompt in PROMPTS]
    assert [sample.tokens for sample in together] == [sample.tokens for sample in alone]


def test_the_first_samples_are_the_same_however_many_are_drawn(model: GPT, tokenizer: Tokenizer) -> None:
    few, many = (
        generate(model, tokenizer, ["a", "my lord"], settings, notice=print)
        for settings in (replace(DRAWN, num_samples=2), replace(DRAWN, num_samples=5))
    )
    assert [s.tokens for s in few] == [s.tokens for s in (*many[0:2], *many[5:7])]
    assert len({tuple(s.tokens) for s in many}) == 10


def test_another_seed_gives_another_sample(model: GPT, tokenizer: Tokenizer) -> None:
    first, again, other = (
        generate(model, tokenizer, "a", replace(DRAWN, seed=seed), notice=print)[0].tokens for seed in (1, 1, 2)
    )
    assert first == again != other


def test_batches_that_do_not_fit_at_once_give_the_same_samples(
    model: GPT, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(DRAWN, num_samples=3)
    expected = generate(model, tokenizer, PROMPTS, config, notice=print)
    monkeypatch.setattr("gpt_research.generation.torch_engine.LARGEST_CACHE", 5 * 2 * 2 * 32 * 16 * 4)  # five rows
    assert generate(model, tokenizer, PROMPTS, config, notice=print) == [
        replace(sample, logprobs=pytest.approx(sample.logprobs, abs=1e-4)) for sample in expected
    ]


def test_log_probabilities_are_the_models(model: GPT, tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("a")
    config = replace(DRAWN, max_new_tokens=12, temperature=0.5, top_k=5, repetition_penalty=1.5)
    sample = generate(model, tokenizer, "a", config)[0]
    with torch.no_grad():
        scores = model(torch.tensor([prompt + sample.tokens[:-1]]))[0].log_softmax(-1)
    expected = [scores[len(prompt) - 1 + i, token].item() for i, token in enumerate(sample.tokens)]
    assert sample.logprobs == pytest.approx(expected, abs=1e-4)


def test_the_penalty_sees_prompt_and_text(model: GPT, tokenizer: Tokenizer) -> None:
    config = replace(GREEDY, repetition_penalty=1e6, max_new_tokens=12)
    sample = generate(model, tokenizer, "the king", config)[0]
    everything = tokenizer.encode("the king") + sample.tokens
    assert len(set(everything)) == len(everything)


def test_pieces_join_to_the_samples(model: GPT, tokenizer: Tokenizer) -> None:
    config = replace(DRAWN, num_samples=2, stop=["q"])
    texts, samples = [""] * 8, [None] * 8
    for piece in stream(model, tokenizer, PROMPTS, config, notice=print):
        assert samples[piece.id] is None, "a piece after the last one"
        assert piece.text or piece.sample
        texts[piece.id] += piece.text
        samples[piece.id] = piece.sample  # type: ignore[call-overload]
    assert [sample and sample.text for sample in samples] == texts
    assert samples == generate(model, tokenizer, PROMPTS, config, notice=print)


def test_text_comes_while_it_is_written(tokenizer: Tokenizer) -> None:
    model = Scripted(tokenizer.encode("abc"), 1, tokenizer.vocab_size)
    pieces = stream(model, tokenizer, "x", GenerateConfig(temperature=0, max_new_tokens=10_000_000))
    assert [next(pieces).text for _ in range(3)] == ["a", "b", "c"]


def test_characters_of_several_tokens_stream_whole(tokenizer: Tokenizer) -> None:
    script = tokenizer.encode("é🙂!")
    sample, pieces = write(tokenizer, script, max_new_tokens=len(script))
    assert (sample.text, pieces, sample.ended) == ("é🙂!", ["é", "🙂", "!"], "length")


@pytest.mark.parametrize(("stop", "text"), [(["\n\n"], "one\ntwo"), (["wo", "e"], "on"), (["two\n\nthr"], "one\n")])
def test_a_sample_ends_before_the_first_stop_text(tokenizer: Tokenizer, stop: list[str], text: str) -> None:
    script = tokenizer.encode("one\ntwo\n\nthree\n\nfour")
    sample, pieces = write(tokenizer, script, max_new_tokens=len(script), stop=stop)
    assert (sample.text, sample.ended) == (text, "stop")
    assert "".join(pieces) == text
    assert tokenizer.decode(sample.tokens).startswith(text + min(s for s in stop if text + s in "one\ntwo\n\nthree"))


def test_a_sample_ends_at_the_end_of_text(tokenizer: Tokenizer) -> None:
    script = [*tokenizer.encode("done"), tokenizer.end_of_text, *tokenizer.encode("more")]
    sample, _ = write(tokenizer, script, max_new_tokens=20, stop=["ne!"])
    assert (sample.text, sample.ended) == ("done", "end_of_text")
    assert sample.tokens[-1] == tokenizer.end_of_text


def test_samples_that_ended_leave_the_others_alone(model: GPT, tokenizer: Tokenizer) -> None:
    config = replace(DRAWN, num_samples=8, stop=["e", "a", "o"], max_new_tokens=40)
    samples = generate(model, tokenizer, PROMPTS, config, notice=print)
    lengths = sorted(len(sample.tokens) for sample in samples)
    assert lengths[0] < 8 < lengths[-1]  # so the batch was compacted in between
    last = max(range(len(samples)), key=lambda i: len(samples[i].tokens))
    alone = generate(model, tokenizer, PROMPTS[last // 8], replace(config, num_samples=8), notice=print)
    assert samples[last].tokens == alone[last % 8].tokens


def test_a_long_text_slides_on_at_a_bounded_cost_and_says_so_once(tokenizer: Tokenizer) -> None:
    model, said, read = make(tokenizer), [], []
    with torch.no_grad():  # some other token always has a logit above 0, so no text ends by itself
        model.head.weight[tokenizer.end_of_text] = 0
    count_positions(model, read.append)
    samples = generate(model, tokenizer, ["a", "b"], replace(GREEDY, max_new_tokens=400), notice=said.append)
    assert {len(sample.tokens) for sample in samples} == {400}
    assert len(said) == 1
    assert "context of 16" in said[0]
    assert sum(read) <= 2 * (1 + 2 * 400)


def test_text_within_the_context_says_nothing(model: GPT, tokenizer: Tokenizer) -> None:
    said: list[str] = []
    generate(model, tokenizer, "a", replace(GREEDY, max_new_tokens=16), notice=said.append)
    assert said == []


def count_positions(model: GPT, add: Callable[[int], None]) -> None:
    model.token_embedding.register_forward_hook(lambda module, inputs, output: add(inputs[0].numel()))


def test_a_prompt_of_many_samples_is_read_once(tokenizer: Tokenizer) -> None:
    model, read = make(tokenizer), []
    count_positions(model, read.append)
    generate(model, tokenizer, "the king", replace(DRAWN, num_samples=6, max_new_tokens=1))
    assert sum(read) == len(tokenizer.encode("the king"))


def test_a_context_of_one_token_works(tokenizer: Tokenizer) -> None:
    model = make(tokenizer, block_size=1)
    sample = generate(model, tokenizer, "a", replace(GREEDY, max_new_tokens=5), notice=print)[0]
    assert sample.tokens == until_end(uncached_one(model, tokenizer.encode("a")[0], 5), tokenizer)


@torch.no_grad()
def uncached_one(model: GPT, token: int, new_tokens: int) -> list[int]:
    written = [token]
    for _ in range(new_tokens):
        written.append(int(model(torch.tensor([written[-1:]]))[0, -1].argmax()))
    return written[1:]


def test_a_prompt_as_long_as_the_context_works(model: GPT, tokenizer: Tokenizer) -> None:
    sample = generate(model, tokenizer, "z" * 16, replace(GREEDY, max_new_tokens=3), notice=print)[0]
    assert sample.tokens == until_end(uncached(model, tokenizer.encode("z" * 16), 3), tokenizer)


def test_a_prompt_longer_than_the_context_is_refused_at_once(model: GPT, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"17 tokens.*holds 16.*Keep its last 16"):
        stream(model, tokenizer, ["a", "z" * 17], GREEDY)


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer: Tokenizer) -> None:
    small = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=8, vocab_size=tokenizer.vocab_size - 1))
    with pytest.raises(UserError, match="tokenizer"):
        generate(small, tokenizer, "a", GREEDY)


def test_entries_beyond_the_tokenizer_are_never_drawn(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=8, vocab_size=100 * tokenizer.vocab_size)).eval()
    tokens = generate(model, tokenizer, "a", replace(DRAWN, max_new_tokens=7))[0].tokens
    assert max(tokens) < tokenizer.vocab_size


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode_and_is_not_in_it_meanwhile(tokenizer: Tokenizer, training: bool) -> None:
    model = make(tokenizer, dropout=0.5).train(training)
    first, second = (generate(model, tokenizer, "a", replace(GREEDY, max_new_tokens=8))[0] for _ in range(2))
    assert first.tokens == second.tokens
    assert model.training is training


def test_no_prompts_give_no_samples(model: GPT, tokenizer: Tokenizer) -> None:
    assert generate(model, tokenizer, []) == []
