"""`gpt-research generate`: what it prints, and the message for each mistake."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.cli.generate import RULE, GenerateCommand, run
from gpt_research.cli.interactive import converse, fitting_end
from gpt_research.cli.prompt import read_prompt
from gpt_research.cli.terminal import Terminal, said_after_the_text
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.torch_engine import TorchEngine, generate
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import load_model

SHAPE = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=16)


def save_run(folder: Path, seed: int = 0) -> Path:
    """A run folder with a model that was never trained."""
    tokenizer = Tokenizer.train(["the king takes the crown"], 270)
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**{**vars(SHAPE), "vocab_size": tokenizer.vocab_size}))
    folder.mkdir(parents=True)
    tokenizer.save(folder / "tokenizer.json")
    write_yaml(
        TrainConfig(out=str(folder), model=model.config, tokens_per_step=16, micro_batch=1),
        folder / "config.yaml",
    )
    save_checkpoint(folder, Checkpoint(1, model_tensors(model), {}, {}), keep_last=1)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "tiny")


def command(folder: Path, **settings: Any) -> GenerateCommand:
    """A command in fp32, the precision of `expected`, because auto depends on the CPU."""
    return GenerateCommand(run=str(folder), device="cpu", precision="fp32", max_new_tokens=8, **settings)


def expected(folder: Path, prompt: str, **settings: Any) -> list[str]:
    """The texts that the Python call gives."""
    model, tokenizer = load_model(folder)
    config = GenerateConfig(max_new_tokens=8, **settings)
    return [sample.text for sample in generate(model, tokenizer, prompt, config)]


def test_prints_the_prompt_and_what_follows_it(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(run_folder, prompt="the king")) == 0
    printed = capsys.readouterr()
    assert printed.out == "the king" + expected(run_folder, "the king")[0] + "\n"
    assert "8 tokens in" in printed.err


def test_prints_several_samples_in_order_with_a_rule_between(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(run_folder, prompt="a", num_samples=3, stop=["e", "\n"])) == 0
    texts = expected(run_folder, "a", num_samples=3, stop=["e", "\n"])
    assert capsys.readouterr().out == RULE.join("a" + text for text in texts) + "\n"


def test_json_has_one_object_a_line(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(run_folder, prompt="é", num_samples=2, json=True)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == expected(run_folder, "é", num_samples=2)
    assert {line["prompt"] for line in lines} == {"é"}
    assert all(len(line["tokens"]) == len(line["logprobs"]) for line in lines)
    assert all(line["ended"] in ("length", "end_of_text") for line in lines)


def test_without_a_run_folder_the_newest_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for age, name in enumerate(["newest", "older"]):
        folder = save_run(tmp_path / "runs" / name, seed=age)
        (folder / "metrics.jsonl").touch()
        os.utime(folder / "metrics.jsonl", (1e9 - age, 1e9 - age))
    monkeypatch.chdir(tmp_path)
    assert run(GenerateCommand(device="cpu", max_new_tokens=2)) == 0
    assert "runs/newest" in capsys.readouterr().err


def test_without_any_run_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Name a run folder, or train one: "):
        run(GenerateCommand(device="cpu"))


def test_an_empty_prompt_begins_a_document_and_says_so(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(run_folder, prompt="")) == 0
    printed = capsys.readouterr()
    assert printed.out == expected(run_folder, "")[0] + "\n"
    assert "begins a new document" in printed.err


def test_a_dash_reads_standard_input_as_it_is() -> None:
    assert read_prompt("-", io.BytesIO("né\n".encode())) == "né\n"
    assert read_prompt("né", io.BytesIO(b"")) == "né"


@pytest.mark.parametrize(
    ("prompt", "data", "message"),
    [
        ("-", b"", "holds no prompt"),
        ("-", b"ab\xff", "Standard input is not UTF-8 text: byte 0xff at position 2"),
        ("-", b"ab\0", "zero byte at position 2"),
        ("a\udcff", b"", "The prompt is not UTF-8 text: byte 0xff at position 1"),
    ],
)
def test_a_prompt_that_is_no_text_is_refused(prompt: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_prompt(prompt, io.BytesIO(data))


def test_a_prompt_longer_than_the_context_is_refused(run_folder: Path) -> None:
    with pytest.raises(UserError, match="50 tokens, but the model's context holds 16"):
        run(command(run_folder, prompt="z" * 50))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 10**9},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": -1.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"num_samples": 0},
        {"stop": [""]},
    ],
)
def test_a_wrong_setting_is_named_with_its_value(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=f"^{name} is .* must be"):
        GenerateCommand(**wrong)


def test_a_screen_shows_no_control_characters_but_a_pipe_gets_them_all() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    text = "a\x1b[31mb\r\n\tc\x85\x07"
    for out, shown in ((Screen(), "a\ufffd[31mb\ufffd\n\tc\ufffd\ufffd"), (io.StringIO(), text)):
        Terminal(out).write(text)
        assert out.getvalue() == shown


def test_a_terminal_of_another_encoding_gets_what_it_can_show() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    Terminal(out).write("é→")
    assert out.buffer.getvalue() == "é?".encode("latin-1")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("texts", "shown"), [([], ""), (["a"], "a\n"), (["a\n"], "a\n"), (["a", "\n", ""], "a\n")])
def test_a_line_is_ended_once(texts: list[str], shown: str) -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    for text in texts:
        terminal.write(text)
    for _ in range(2):
        terminal.end_line()
    assert out.getvalue() == shown


@pytest.mark.filterwarnings("default:second")
def test_what_is_said_while_a_text_is_written_comes_after_it() -> None:
    with one_screen() as screen:
        terminal = Terminal(screen)
        with said_after_the_text(terminal.end_line) as notice:
            terminal.write("a te")
            notice("first")
            warnings.warn("second", stacklevel=1)
            terminal.write("xt\n")
        with contextlib.suppress(UserError), said_after_the_text(terminal.end_line) as notice:
            terminal.write("more")
            notice("third")
            raise UserError("wrong")
    assert screen.getvalue() == "a text\nfirst\nsecond\nmore\nthird\n"  # and then the error


@contextlib.contextmanager
def one_screen() -> Iterator[io.StringIO]:
    """A terminal that shows standard output and standard error one after the other."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        yield shown


@pytest.mark.parametrize("as_json", [False, True])
def test_that_a_text_outgrew_the_context_is_said_after_it(run_folder: Path, as_json: bool) -> None:
    asked = replace(command(run_folder, prompt="a", seed=5, json=as_json), max_new_tokens=40)
    with one_screen() as screen:
        assert run(asked) == 0
    sample = generate(*load_model(run_folder), "a", asked, notice=print)[0]
    *lines, notice, speed, rest = screen.getvalue().split("\n")
    assert len(sample.tokens) > 16
    printed = "\n".join(lines)
    assert sample.text == (json.loads(printed)["text"] if as_json else printed.removeprefix("a"))
    assert notice.startswith("The text outgrew the context of 16 tokens: beyond it the model sees only")
    assert "tokens/s" in speed
    assert rest == ""


def test_a_session_says_so_after_the_answer(run_folder: Path) -> None:
    engine, said = TorchEngine(*load_model(run_folder)), iter(["a", "/quit"])
    with one_screen() as screen:
        converse(engine, GenerateConfig(max_new_tokens=40, seed=5), screen.write, lambda _: next(said))
    answer, notice, rest = screen.getvalue().rsplit("\n", 2)
    assert answer.partition("\n")[2].startswith("a")
    assert notice.startswith("The text outgrew the context")
    assert rest == ""


def diverged(folder: Path) -> Path:
    """A run whose model has a weight that is not a number, for one token only: that of "k"."""
    model, tokenizer = load_model(save_run(folder))
    with torch.no_grad():
        model.token_embedding.weight[tokenizer.encode("k")] = torch.nan
    save_checkpoint(folder, Checkpoint(2, model_tensors(model), {}, {}), keep_last=1)
    return folder


def test_an_error_has_a_line_of_its_own(tmp_path: Path) -> None:
    folder = diverged(tmp_path / "bad")
    said = iter(["the k", "/quit"])
    with one_screen() as screen:
        converse(TorchEngine(*load_model(folder)), GenerateConfig(), screen.write, lambda _: next(said))
    assert "\nthe k\nThe model's output is not finite" in screen.getvalue()


def talk(folder: Path, lines: list[str], **settings: Any) -> str:
    """What an interactive session prints to standard output."""
    engine = TorchEngine(*load_model(folder))
    said, answers = iter(lines), io.StringIO()
    converse(engine, command(folder, interactive=True, **settings), answers.write, lambda _: next(said))
    assert next(said, None) is None, "the session ended early"
    return answers.getvalue()


def test_a_session_goes_on_from_each_line_and_from_its_own_text(run_folder: Path) -> None:
    first = expected(run_folder, "a")[0]
    end = fitting_end(TorchEngine(*load_model(run_folder)), "a" + first)
    second = expected(run_folder, end, seed=1338)[0]
    assert talk(run_folder, ["a", "", "/quit"]) == f"a{first}\n{second}\n"


def test_a_session_changes_settings_and_survives_mistakes(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "/temperature 0",
        "/temperature -1",
        "/temperature x",
        "/tempreature 1",
        "/settings",
        "a",
        "/quit",
    ]
    assert talk(run_folder, lines) == "a" + expected(run_folder, "a", temperature=0)[0] + "\n"
    said = capsys.readouterr().err
    assert "temperature is -1.0, but it must be" in said
    assert "/temperature needs a number, such as" in said
    assert 'Unknown command "/tempreature". Did you mean "temperature"?' in said
    assert "temperature 0.0" in said


def test_a_long_session_keeps_the_end_of_its_text(run_folder: Path) -> None:
    lines = ["a", *[""] * 6, "z" * 40, "b", "/quit"]
    assert talk(run_folder, lines, seed=5).count("\n") >= 8
