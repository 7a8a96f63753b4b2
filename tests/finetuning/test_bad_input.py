"""What is wrong with examples, settings or runs is said in one sentence with its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finetuning.conftest import rows_of, write_rows

from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.cli.evaluate import EvaluateCommand
from gpt_research.cli.evaluate_examples import evaluate_examples, is_of_examples
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning import examples, fine_tuned
from gpt_research.finetuning.examples import Classes, ExampleFile
from gpt_research.finetuning.finetune import finetune, prepared
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.run_reference import RunReference
from gpt_research.settings_history import run_config

Settings = Callable[..., FinetuneSettings]


def remarks(settings: FinetuneSettings) -> str:
    config, objective = prepared(settings)
    return " ".join(objective.remarks(config))


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (
            "classify",
            {"prompt": "a", "completion": "b"},
            r"line 25 is of another task: .* of complete, and not text",
        ),
        ("classify", {"text": "a"}, r"line 25 has no 'label' for the task classify \(its columns: text\)"),
        ("classify", {"text": "a", "label": ""}, "line 25: label is empty"),
        ("classify", {"text": " ", "label": "good"}, "line 25: text is empty"),
        ("classify", {"text": "a", "label": 0.5}, "line 25: label is 0.5, and a class must be a text or a whole"),
        (
            "similarity",
            {"text_a": "a", "text_b": "b", "label": "near"},
            "label is 'near', and similarity needs",
        ),
        ("choice", {"context": "a", "choices": ["b"], "answer": 0}, "choices must be a list of at least two texts"),
        (
            "choice",
            {"context": "a", "choices": ["b", "c"], "answer": 2},
            "answer is 2, and it must be one of",
        ),
        ("chat", {"messages": [{"role": "user", "content": "a"}]}, "line 25 has no message of the assistant"),
        (
            "chat",
            {"messages": [{"role": "bot", "content": "a"}]},
            "a message has the role 'bot', and it must be",
        ),
    ],
)
def test_a_row_that_the_task_cannot_take_is_named(settings: Settings, task: str, row: Any, message: str) -> None:
    asked = settings(task)
    write_rows(Path(asked.data), [*rows_of(task, 24), row])
    with pytest.raises(UserError, match=message):
        prepared(asked)


def test_labels_that_cannot_be_learnt(settings: Settings) -> None:
    asked = settings()
    write_rows(Path(asked.val), [{"text": "a", "label": "ugly"}])
    with pytest.raises(UserError, match=r"line 1 has the label 'ugly', which is not among those .*\('bad', 'good'\)"):
        prepared(asked)
    with pytest.raises(UserError, match=r"labels has the class 'fair', of which .* holds no example"):
        prepared(settings(labels=["good", "bad", "fair"]))
    once = settings()
    write_rows(Path(once.data), [*rows_of("classify", 24), {"text": "a", "label": "ugly"}])
    assert "1 of 3 labels occur once in" in remarks(once)
    write_rows(Path(once.data), [{"text": "a", "label": "good"}] * 3)
    with pytest.raises(UserError, match=r"holds one class only \('good'\)"):
        prepared(replace(once, val=""))


def test_settings_without_effect_and_labels_without_a_difference(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"early_stopping is 2, but it must be 0 without --val"):
        prepared(settings(val="", early_stopping=2))
    with pytest.raises(UserError, match=r"finetune needs task \(classify, pairs, .*chat\), as in"):
        prepared(replace(settings(), task=None))
    asked = settings("similarity")
    write_rows(Path(asked.data), [{"text_a": "a", "text_b": "b", "label": 3.0}] * 3)
    with pytest.raises(UserError, match=r"holds one label only \(3\)"):
        prepared(asked)


def test_examples_longer_than_the_context_are_counted_or_refused(settings: Settings) -> None:
    asked = settings()
    write_rows(Path(asked.data), [*rows_of("classify", 24), {"text": "the king " * 60, "label": "good"}])
    assert "1 of 25 examples in" in remarks(asked)
    with pytest.raises(UserError, match=r"1 of 25 examples in .* are longer than the context of 32 tokens. Shorten"):
        remarks(FinetuneSettings(**{**vars(asked), "long": "refuse"}))


def test_a_model_and_a_tokenizer_that_do_not_fit(settings: Settings, pretrained: Path, tmp_path: Path) -> None:
    run = tmp_path / "other"
    run.mkdir()
    write_yaml(run_config(pretrained), run / "config.yaml")
    Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz ").save(run / "tokenizer.json")
    with pytest.raises(UserError, match=r"The model in .* has 300 tokens and its tokenizer.json 28"):
        prepared(settings(run=str(run)))
    # A tokenizer without the special tokens of a task gets them, and a character that it lacks is
    # named with its line.
    config = run_config(pretrained)
    write_yaml(replace(config, model=replace(config.model, vocab_size=28)), run / "config.yaml")
    with pytest.raises(UserError, match=r"line \d+: .*'R'"):
        prepared(settings(run=str(run)))[1].cut("train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "holds no example"),
        ("a.jsonl", b"{", r"line 1 is no JSON"),
        ("a.jsonl", b"[1]", "line 1 is no JSON object, but list"),
        ("a.csv", b"text,label\na\n", r"line 2 has 1 fields, but the header names 2"),
        ("a.csv", b"text,label\n\xff,b\n", "is not UTF-8"),
        ("a.csv", b'label,text\n\nneg,"bad start\npos,fine\nneg,so-so\n', "line 3 begins a row that cannot be read"),
        ("a.csv", b'label,text\npos,fine\nneg,"bad" start\npos,fine\n', "line 3 begins a row that cannot be read"),
        ("a.csv", b'label,text\nneg,"bad\npos,fine"\n"neg,bad\npos,"fine"\n', "line 4 begins a row"),
        ("a.txt", b"a", "is no file of examples that is known"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        ExampleFile.read(str(tmp_path / name), "classify", {})


@pytest.mark.parametrize(("name", "task"), [("SICK_train.txt", "pairs"), ("msr-para-train.tsv", "pairs")])
def test_an_official_file_without_rows_is_named(tmp_path: Path, name: str, task: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"{name} holds no example"):
        ExampleFile.read(str(tmp_path / name), task, {})


def test_the_answers_of_mctest_are_checked_and_hashed(tmp_path: Path) -> None:
    question = "\t".join(["one: who?", "a", "b", "c", "d"])
    story = tmp_path / "mc160.train.tsv"
    story.write_text("\t".join(["id", "author", "A story.", *[question] * 4]) + "\n")
    answers, found = tmp_path / "mc160.train.ans", []
    for letters in ("A\tB\tC\tD", "D\tC\tB\tA"):
        answers.write_text(letters + "\n")
        found.append(ExampleFile.read(str(story), "choice", {}))
    assert [[e.label for e in file.examples] for file in found] == [[0, 1, 2, 3], [3, 2, 1, 0]]
    assert found[0].sha256 != found[1].sha256
    for letters in ("A\tB\tC", "A\tB\tC\tE"):
        answers.write_text(letters + "\n")
        with pytest.raises(UserError, match=r"for story 1, and it must have four letters from A to D"):
            ExampleFile.read(str(story), "choice", {})


def test_classes_that_are_numbers_go_by_their_value(tmp_path: Path) -> None:
    rows = [
        {"text": f"a fool {number}", "label": label} for number, label in enumerate(["1", "-1", "10", "0.5", "nan"])
    ]
    file = ExampleFile.read(write_rows(tmp_path / "a.jsonl", rows), "classify", {})
    assert Classes.of(file, []).names == ("-1", "0.5", "1", "10", "nan")


def test_a_head_that_was_begun_in_another_order_keeps_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"a fool {number}", "label": ["-1", "1"][number % 2]} for number in range(8)]
    begun = settings(data=write_rows(tmp_path / "a.jsonl", rows), val="", epochs=1.0)
    with monkeypatch.context() as earlier_version:
        earlier_version.setattr(examples, "_sorting_key", lambda name: name != "1")
        finetune(begun)
    _, objective = prepared(begun)
    assert objective.classes.names == ("1", "-1")


def test_evaluate_measures_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fine_tuned, "finetuning_of", lambda chosen: {"task": "classify"})
    run = RunReference(tmp_path)
    assert is_of_examples(EvaluateCommand(), run, 0)
    assert not is_of_examples(EvaluateCommand(), run, 3)
    for other in ({"suite": "small"}, {"tasks": "blimp"}, {"benchmarks": "here"}):
        assert not is_of_examples(EvaluateCommand(**other), run, 0)


@pytest.mark.parametrize(
    "ignored", [{"limit": 5}, {"ema": True}, {"harness": True}, {"context": 16}, {"stride": 8}, {"max_tokens": 10}]
)
def test_a_setting_that_examples_know_nothing_of_is_refused(ignored: dict[str, Any], tmp_path: Path) -> None:
    (name,) = ignored
    with pytest.raises(UserError, match=f"^{name} is .* Leave --{name} out"):
        evaluate_examples(EvaluateCommand(**ignored), RunReference(tmp_path), json="", device="cpu", precision="fp32")


def test_tables_hold_what_json_lines_hold(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('kind,text\ngood,"a, ""b""\nc"\nbad,d\n', encoding="utf-8-sig")
    read = ExampleFile.read(str(tmp_path / "a.csv"), "classify", {"label": "kind"})
    assert [(e.texts[0], e.label) for e in read.examples] == [('a, "b"\nc', "good"), ("d", "bad")]
    long = "many words, " * 20_000
    (tmp_path / "a.csv").write_text(f'label,text\ngood,"{long}"\n')
    assert ExampleFile.read(str(tmp_path / "a.csv"), "classify", {}).examples[0].texts == (long,)
    (tmp_path / "a.tsv").write_text('text\tlabel\n"a\tgood\n', encoding="utf-8")
    assert ExampleFile.read(str(tmp_path / "a.tsv"), "classify", {}).examples[0].texts == ('"a',)


@pytest.mark.parametrize(
    ("file", "task", "count", "first"),
    [
        ("sst2/stsa.binary.train", "classify", 6920, "1"),
        ("trec/TREC.train", "classify", 5452, "DESC"),
        ("sick/SICK_test_annotated.txt", "pairs", 4927, "NEUTRAL"),
        ("sick/SICK_train.txt", "similarity", 4500, 4.5),
        ("mrpc/msr-para-test.tsv", "pairs", 1725, "1"),
        ("mctest160/mc160.train.statements.tsv", "choice", 280, 2),
    ],
)
def test_official_files_are_read_as_they_are_published(
    shared: Path, file: str, task: str, count: int, first: Any
) -> None:
    path = shared / "labelled" / file
    if not path.is_file():
        pytest.skip("no labelled texts beside the checkout")
    read = ExampleFile.read(str(path), task, {})
    assert len(read.examples) == count
    assert read.examples[0].label == first
    assert all(text.strip() for example in read.examples for text in example.texts)
