"""A vocabulary of characters that lacks a letter of an item: the others are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpt_research.cli.command_line import main

WORDS = ["a fool", "my lord", "the café", "the king", "the queen", "a naïf"]
KNOWN = [0, 1, 3, 4]
TASKS = """
quiz: {form: choice, file: rows.jsonl, prompt: "{{w}}", choices: ["takes", "gives {{w}}"], answer: 0}
grammar: {form: pairs, file: rows.jsonl, good: "{{w}} takes", bad: "takes {{w}}"}
last: {form: cloze, file: rows.jsonl, prompt: "it is", continuation: "{{w}}"}
facts: {form: answer, file: rows.jsonl, prompt: "it is", continuation: "{{w}}"}
sums: {form: generate, file: rows.jsonl, prompt: "{{w}}", answers: ["é"], max_new_tokens: 2}
accents: {form: cloze, file: rows.jsonl, prompt: "it is", continuation: "é"}
"""


def evaluate(run: Path, folder: Path, words: list[str]) -> dict[str, Any]:
    folder.mkdir()
    (folder / "tasks.yaml").write_text(TASKS)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"w": word}) + "\n" for word in words))
    out = folder / "out.json"
    assert main(["evaluate", str(run), "--tasks", str(folder / "tasks.yaml"), "--json", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_items_with_unknown_letters_are_left_out_and_counted(
    run_of_characters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(run_of_characters, tmp_path / "all", WORDS)
    printed = " ".join(capsys.readouterr().out.split())
    e = "'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE)"
    left_out = f"2 items are left out, because the tokenizer has no token for a character (item 3 has {e})"
    assert printed.count(left_out) == 5
    assert f"accents is missing. The tokenizer can encode none of its items: item 1 has {e}." in printed
    known = evaluate(run_of_characters, tmp_path / "known", [WORDS[number] for number in KNOWN])
    assert known["tasks"].keys() == found["tasks"].keys() == {"quiz", "grammar", "last", "facts", "sums"}
    for name, task in found["tasks"].items():
        assert task["items"] == 4
        assert task["not_encoded"]["items"] == [2, 5]
        assert "first_of" not in task
        assert task["scores"] == known["tasks"][name]["scores"]
        assert task["items_sha256"] == known["tasks"][name]["items_sha256"]
        assert "not_encoded" not in known["tasks"][name]


def test_a_task_of_which_nothing_is_known_is_one_sentence(
    run_of_characters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks.yaml").write_text("accents: {form: cloze, file: rows.jsonl, prompt: a, continuation: '{{w}}'}")
    (tmp_path / "rows.jsonl").write_text('{"w": "é"}\n')
    assert main(["evaluate", str(run_of_characters), "--tasks", str(tmp_path / "tasks.yaml")]) == 2
    said = capsys.readouterr().err
    assert "accents cannot be measured. The tokenizer can encode none of its items: item 1 has 'é'" in said
    audited = tmp_path / "published.jsonl"
    audited.write_text('{"task": "lambada", "metric": "acc", "value": 0.31}\n')
    (tmp_path / "lambada").mkdir()
    (tmp_path / "lambada" / "test.jsonl").write_text('{"text": "der König É"}\n' * 5153)
    assert main(["evaluate", str(run_of_characters), "--audit", str(audited), "--benchmarks", str(tmp_path)]) == 2
    assert "lambada: the tokenizer can encode none of its items: item 1 has" in capsys.readouterr().err
