"""`gpt-research generate --engine llamacpp` writes the same text as PyTorch, from a GGUF file that
it keeps.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.cli.generate import GenerateCommand, run
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import gguf_of_run as files
from gpt_research.generation.engine import GenerationEngine, Piece, Request
from gpt_research.generation.llama_cpp import LlamaCpp
from gpt_research.generation.llama_cpp_engine import LlamaCppEngine
from gpt_research.generation.torch_engine import TorchEngine
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import load_model

needs_llama_cpp = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("xllamacpp", "gguf")),
    reason='xllamacpp or gguf is not installed (pip install -e ".[export]")',
)


def sentences(seed: int, count: int) -> str:
    rng = random.Random(seed)
    people, things = ["the king", "a fool", "Zoë"], ["crown", "naïve 🐋", "letter", "白鯨"]
    return "".join(f"{rng.choice(people)} takes the {rng.choice(things)} {rng.randrange(100)}.\n" for _ in range(count))


def save(folder: Path, model: GPT, tokenizer: Tokenizer, step: int) -> None:
    state = {"lineage": {"tokenizer": tokenizer.fingerprint}}
    save_checkpoint(folder, Checkpoint(step, model_tensors(model), {}, state), keep_last=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model has learnt a little, including characters of several tokens."""
    torch.set_num_threads(1)
    text = sentences(0, 1500)
    tokenizer = Tokenizer.train([text], 300)
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=48, vocab_size=tokenizer.vocab_size))
    tokens, optimizer = torch.tensor(tokenizer.encode(text)), torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(100):
        window = torch.randint(0, len(tokens) - 49, (8, 1)) + torch.arange(49)
        loss = model(tokens[window][:, :-1], tokens[window][:, 1:]) / (8 * 48)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("runs") / "trained"
    folder.mkdir()
    write_yaml(TrainConfig(model=model.config, tokens_per_step=8 * 48), folder / "config.yaml")
    tokenizer.save(folder / "tokenizer.json")
    save(folder, model, tokenizer, 7)
    return folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("gguf")))


def write(capsys: pytest.CaptureFixture[str], folder: Path, engine: str = "llamacpp", **settings: Any) -> list[Any]:
    """The samples that a command prints as JSON."""
    capsys.readouterr()
    # On some CPUs, auto is bf16 for PyTorch and fp32 for llama.cpp.
    settings = {"precision": "fp32", "device": "cpu", **settings}
    command = GenerateCommand(run=str(folder), engine=engine, json=True, **settings)  # type: ignore[arg-type]
    assert run(command) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.llama_cpp import LlamaCpp
tokenizer = Tokenizer.load(Path(sys.argv[1]) / "tokenizer.json")
for _ in range(50):
    LlamaCpp(Path(sys.argv[2]), tokenizer, block_size=48).close()
"""


@needs_llama_cpp
def test_llama_cpp_closes_at_once_although_nothing_was_asked(trained: Path) -> None:
    # A process of its own, because a server that does not end would hold this one's interpreter.
    command = [sys.executable, "-c", OPEN_AND_CLOSE, str(trained), str(files.gguf_of_run(trained, "f32").path)]
    subprocess.run(command, check=True, timeout=120)


@needs_llama_cpp
@pytest.mark.parametrize("prompt", ["the king takes", "", "Zoë takes the 白"])
@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_greedy_text_is_that_of_our_own_model(
    prompt: str, penalty: float, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"prompt": prompt, "temperature": 0.0, "max_new_tokens": 30, "repetition_penalty": penalty}
    (ours,), (theirs,) = write(capsys, trained, "torch", **settings), write(capsys, trained, **settings)
    assert theirs["tokens"] == ours["tokens"]
    assert theirs["text"] == ours["text"]
    assert theirs["ended"] == ours["ended"]
    assert theirs["logprobs"] == pytest.approx(ours["logprobs"], abs=1e-2)


@needs_llama_cpp
def test_stop_texts_end_a_sample_as_ours_do(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"prompt": "a fool", "temperature": 0.0, "stop": ["akes", "."]}
    (ours,), (theirs,) = write(capsys, trained, "torch", **settings), write(capsys, trained, **settings)
    assert theirs["ended"] == "stop"
    assert (theirs["text"], theirs["tokens"]) == (ours["text"], ours["tokens"])


@needs_llama_cpp
def test_a_sample_depends_on_seed_and_number_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"prompt": "the king", "temperature": 1.5, "top_k": 0, "max_new_tokens": 20}
    alone = write(capsys, trained, **settings)
    many = write(capsys, trained, num_samples=20, **settings)
    assert many[0]["tokens"] == alone[0]["tokens"]
    assert write(capsys, trained, num_samples=20, **settings)[19]["tokens"] == many[19]["tokens"]
    assert len({sample["text"] for sample in many}) > 15
    assert write(capsys, trained, seed=1, **settings)[0]["tokens"] != alone[0]["tokens"]


@needs_llama_cpp
@pytest.mark.parametrize("setting", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_each_filter_that_leaves_one_token_is_greedy(
    setting: dict[str, Any], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = {"prompt": "a fool", "max_new_tokens": 12}
    greedy = write(capsys, trained, temperature=0.0, **fixed)
    assert write(capsys, trained, temperature=2.0, **{"top_k": 0, **setting}, **fixed) == greedy


def finish(engine: GenerationEngine, first: list[Piece]) -> dict[int, list[Piece]]:
    """The pieces of each request: the first ones, and those that come until the engine has nothing
    to do.
    """
    pieces = list(first)
    while engine.busy:
        pieces += engine.step()
    return {id: [piece for piece in pieces if piece.id == id] for id in {piece.id for piece in pieces}}


@needs_llama_cpp
def test_requests_join_and_leave_llama_cpp_as_they_do_our_own_engine(run_folder: Path) -> None:
    requests = [
        Request("the king takes", GenerateConfig(temperature=0, max_new_tokens=30)),
        Request("Zoë", GenerateConfig(temperature=0, max_new_tokens=12), logprobs=3),
        Request("a fool", GenerateConfig(temperature=0, max_new_tokens=20, stop=["akes"])),
        Request("a fool", GenerateConfig(temperature=0, max_new_tokens=20), logprobs=0),
    ]
    model, tokenizer = load_model(run_folder)
    file = files.gguf_of_run(run_folder, "f32")
    with (
        contextlib.closing(LlamaCpp(file.path, tokenizer, 48, slots=2)) as llama,
        contextlib.closing(LlamaCppEngine(llama, "f32")) as llama_engine,
    ):
        engines: list[GenerationEngine] = [TorchEngine(model, tokenizer, max_rows=2), llama_engine]
        written = []
        for engine in engines:
            cancelled = engine.add(Request("the", GenerateConfig(temperature=1.0, max_new_tokens=45)))
            for request in requests:
                engine.add(request)
            first = engine.step()
            engine.cancel(cancelled)
            written.append(finish(engine, first))
    for id in range(1, 5):
        ours, theirs = (pieces[id] for pieces in written)
        assert theirs[-1].sample is not None
        assert ours[-1].sample is not None
        assert theirs[-1].sample.tokens == ours[-1].sample.tokens
        assert "".join(piece.text for piece in theirs) == theirs[-1].sample.text == ours[-1].sample.text
        likeliest = [[list(a.items()) for piece in own for a in piece.alternatives] for own in (ours, theirs)]
        assert len(likeliest[1]) == (len(theirs[-1].sample.tokens) if id == 2 else 0)
        for mine, other in zip(*likeliest, strict=True):
            assert [token for token, _ in other] == [token for token, _ in mine]
            assert [value for _, value in other] == pytest.approx([value for _, value in mine], abs=1e-2)


@needs_llama_cpp
def test_a_text_that_outgrows_the_context_goes_on_and_says_so_once(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = GenerateCommand(run=str(trained), engine="llamacpp", prompt="a", max_new_tokens=150, temperature=0.5)
    assert run(command) == 0
    printed = capsys.readouterr()
    assert printed.err.count("outgrew the context of 48 tokens") == 1
    assert "f32 with llama.cpp" in printed.err


@needs_llama_cpp
def test_a_prompt_that_fills_the_context_is_refused(trained: Path) -> None:
    tokenizer = Tokenizer.load(trained / "tokenizer.json")
    prompt = tokenizer.decode(tokenizer.encode(sentences(3, 20))[:48])
    with pytest.raises(UserError, match="Keep its last 47 tokens or fewer"):
        run(GenerateCommand(run=str(trained), engine="llamacpp", prompt=prompt))


@needs_llama_cpp
def test_a_conversation_goes_through_llama_cpp_too(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = write(capsys, trained, "torch", prompt="the king", temperature=0.0, max_new_tokens=10)[0]["text"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("/temperature 0\nthe king\n\n/quit\n"))
    command = GenerateCommand(run=str(trained), engine="llamacpp", interactive=True, max_new_tokens=10)
    assert run(command) == 0
    said = capsys.readouterr().out
    assert f"> the king{greedy}\n> " in said
    assert len(said) > len(greedy) + 30, "the empty line went on"


@needs_llama_cpp
def test_the_file_is_kept_until_the_checkpoint_changes(run_folder: Path) -> None:
    said: list[str] = []
    first = files.gguf_of_run(run_folder, "f32", notice=said.append).path
    written_at = first.stat().st_mtime_ns
    assert files.gguf_of_run(run_folder, "f32", notice=said.append).path == first
    assert first.stat().st_mtime_ns == written_at
    assert [sentence[:8] for sentence in said] == ["Writing "]
    files.gguf_of_run(run_folder, "q8_0")
    model, tokenizer = load_model(run_folder)
    save(run_folder, model, tokenizer, 9)
    second = files.gguf_of_run(run_folder, "f32").path
    assert sorted(path.name for path in (run_folder / "gguf").iterdir()) == [
        second.with_suffix(s).name for s in (".gguf", ".json")
    ]
    assert second.name == "step_00000009-f32.gguf"


@needs_llama_cpp
@pytest.mark.parametrize("damage", ["cut", "changed", "unlisted"])
def test_a_damaged_file_is_made_anew(damage: str, run_folder: Path) -> None:
    path = files.gguf_of_run(run_folder, "f32").path
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-100])
    elif damage == "changed":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        path.with_suffix(".json").write_text("{")
    assert files.gguf_of_run(run_folder, "f32").path.read_bytes() == whole


@needs_llama_cpp
def test_a_failed_write_leaves_nothing(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.gguf, "write", full)
    with pytest.raises(UserError, match=r"No space left on device.*Free some space"):
        files.gguf_of_run(run_folder, "f32")
    assert list((run_folder / "gguf").iterdir()) == []


@needs_llama_cpp
def test_int8_is_q8_0_and_needs_a_fitting_width(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(capsys, run_folder, weights="int8", prompt="a", max_new_tokens=4)
    assert (run_folder / "gguf" / "step_00000007-q8_0.gguf").is_file()
    tokenizer = Tokenizer.load(run_folder / "tokenizer.json")
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=24, block_size=16, vocab_size=tokenizer.vocab_size))
    write_yaml(TrainConfig(model=model.config, tokens_per_step=128), run_folder / "config.yaml")
    save(run_folder, model, tokenizer, 8)
    with pytest.raises(UserError, match=r"model.n_embd is 24. Leave --weights out"):
        write(capsys, run_folder, weights="int8", prompt="a")


@pytest.mark.parametrize("package", ["xllamacpp", "gguf"])
def test_a_missing_package_is_one_sentence(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(UserError, match=rf'needs {package}. Run: \S+ -m pip install .*\[export\]"'):
        run(GenerateCommand(run="anything", engine="llamacpp"))


def test_a_gpu_is_refused() -> None:
    with pytest.raises(UserError, match="device is 'cuda', but it must be auto or cpu for --engine llamacpp"):
        GenerateCommand(engine="llamacpp", device="cuda")
