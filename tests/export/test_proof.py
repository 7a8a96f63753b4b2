"""The proof of an export fails on what is wrong and passes over what is a tie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from export.small_runs import VARIANTS, write_run

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import gguf
from gpt_research.export import hf as huggingface
from gpt_research.export.proof import Bound, OurReader, Reader, prove
from gpt_research.generation.llama_cpp import LlamaCppReader
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

ANY = Bound(1e9, 1e9)


class Altered(OurReader):
    """Our own model with something wrong in it."""

    name = "altered"
    noise = 0.0
    ids: list[int] | None = None
    continuation: list[int] | None = None

    def encode(self, text: str) -> list[int]:
        return super().encode(text) if self.ids is None else self.ids

    def log_probs(self, tokens: list[int]) -> tuple[list[int], torch.Tensor]:
        places, rows = super().log_probs(tokens)
        return places, rows + self.noise

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        return super().greedy(tokens, count) if self.continuation is None else self.continuation


@pytest.fixture
def readers(tokenizer: Tokenizer) -> tuple[OurReader, Altered]:
    torch.manual_seed(0)
    config = GPTConfig(n_layer=1, n_head=1, n_embd=16, block_size=40, vocab_size=tokenizer.vocab_size)
    model = GPT(config)
    with torch.no_grad():
        model.token_embedding.weight.normal_()
    return OurReader(model, tokenizer), Altered(model, tokenizer)


def test_the_same_model_passes_with_no_difference(readers: tuple[OurReader, Altered]) -> None:
    proof = prove(*readers, Bound(0, 0))
    assert (proof.largest, proof.divergence, proof.positions, proof.new_tokens) == (0, 0, 40, 24)


@pytest.mark.parametrize("noise", [1e-2, float("nan"), float("inf")])
def test_differences_beyond_the_bound_and_numbers_that_are_none_fail(
    readers: tuple[OurReader, Altered], noise: float
) -> None:
    ours, other = readers
    other.noise = noise
    with pytest.raises(UserError, match="log-probabilities differ"):
        prove(ours, other, Bound(1e-3, 1))


def test_other_tokens_fail_and_the_place_is_named(readers: tuple[OurReader, Altered]) -> None:
    ours, other = readers
    text = "Call me Ishmael"
    ids = ours.encode(text)
    other.ids = [*ids[:2], 0, *ids[3:]]
    with pytest.raises(UserError, match=f"from token 2 of {len(ids)} on"):
        prove(ours, other, ANY, text)
    other.ids = ids[:-1]
    with pytest.raises(UserError, match=f"from token {len(ids) - 1} of {len(ids)} on"):
        prove(ours, other, ANY, text)


def test_another_continuation_fails_unless_it_is_a_tie(readers: tuple[OurReader, Altered]) -> None:
    ours, other = readers
    prompt = ours.encode("Call me")
    tokens = prompt[: max(1, len(prompt) // 2)]
    right = ours.greedy(tokens, 24)
    choices = ours.log_probs(tokens + right[:3])[1][-1]
    second = int(choices.topk(2).indices[1])
    gap = float(choices.max() - choices[second])
    other.continuation = [*right[:3], second, *right[4:]]
    with pytest.raises(UserError, match="parts at token 3"):
        prove(ours, other, ANY, "Call me")
    other.noise = gap / 3  # now the two programs are known to differ by enough to swap them
    assert prove(ours, other, ANY, "Call me").tied
    other.continuation = right[:-1]
    with pytest.raises(UserError, match="parts at token 23"):
        prove(ours, other, ANY, "Call me")


@pytest.mark.parametrize("program", ["transformers", "xllamacpp"])
def test_every_reader_stops_after_an_end_of_text(program: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    pytest.importorskip(program, reason=f"{program} is not installed")
    model = write_run(tmp_path / "run", VARIANTS["gpt2"], tokenizer)
    end = tokenizer.end_of_text
    with torch.no_grad():  # every position now says that the text ends
        model.norm.bias += 20 * model.token_embedding.weight[end]
    source = replace(Run.open(tmp_path / "run"), model=model)
    reader: Reader
    if program == "transformers":
        huggingface.write(tmp_path, source, "f32")
        reader = huggingface.TransformersReader(tmp_path)
    else:
        pytest.importorskip("gguf", reason="gguf is not installed")
        gguf.write(tmp_path / "model.gguf", source, "f32")
        reader = LlamaCppReader(tmp_path / "model.gguf", tokenizer, 48)
    ours = OurReader(model, tokenizer)
    assert ours.greedy([1, 2, 3], 5) == reader.greedy([1, 2, 3], 5) == [end]
    assert prove(ours, reader, Bound(5e-2, 1e-4)).new_tokens == 1
