"""A YAML file makes a task of JSON lines; each mistake in it is one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment

from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main
from gpt_research.evaluation import results
from gpt_research.evaluation.chosen_tasks import choose, items_of
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.forms import MATCHES, Completion, Options, Pair, Prompt, Question, measure_generation
from gpt_research.evaluation.own_tasks import read_own_tasks
from gpt_research.evaluation.settings import EvaluationSettings

ROWS = [
    {"q": "Who takes it?", "options": ["the king", "a fool"], "right": "B", "number": 7},
    {"q": "Who gives it?", "options": ["my lord", "the queen"], "right": "A", "number": 8},
    {"q": "Who loves it?", "options": ["the king", "my lord"], "right": "A", "number": 9},
]
TASKS = r"""
quiz:
  form: choice
  file: rows.jsonl
  prompt: "Question: {{q}}\nAnswer:"
  choices: options
  answer: right
  shots: 2
schema:
  form: schema
  file: rows.jsonl
  contexts: ["{{options[0]}} says", "{{options[1]}} says"]
  continuation: "{{q}}"
  answer: "0 if number > 7 else 1"
grammar:
  form: pairs
  file: rows.jsonl
  good: "{{options[0]}} takes the crown"
  bad: "{{options[0]}} crown the takes"
  group: "{{right}}"
last_word:
  form: cloze
  file: rows.jsonl
  prompt: "{{options[0]}} takes the"
  continuation: crown
gold:
  form: answer
  file: rows.jsonl
  prompt: "{{q}}"
  continuation: "{{options[0]}}"
writes:
  form: generate
  file: rows.jsonl
  prompt: "the king takes the"
  answers: ["crown", "sword", "horse", "letter"]
  match: contains
  max_new_tokens: 4
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of tasks beside its rows."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(TASKS, encoding="utf-8")
    return tmp_path / "mine.yaml"


def test_rows_become_items_by_the_templates(file: Path) -> None:
    tasks = read_own_tasks(file)
    items = {name: items_of(name, task, "")[1] for name, task in tasks.items()}
    *examples, last = items["quiz"][0].context.split("\n\n")
    assert last == "Question: Who takes it?\nAnswer:"
    solved = {"Question: Who gives it?\nAnswer: my lord", "Question: Who loves it?\nAnswer: the king"}
    assert set(examples) == solved, "the other rows, with their answers"
    assert items["quiz"][0] == Question(items["quiz"][0].context, ("the king", "a fool"), 1)
    assert items["schema"][0] == Options(("the king says", "a fool says"), (" Who takes it?",) * 2, 1)
    assert items["grammar"][1] == Pair("my lord takes the crown", "my lord crown the takes", "A")
    assert items["last_word"][0] == Completion("the king takes the", " crown")
    assert items["gold"][2] == Completion("Who loves it?", " the king")
    assert items["writes"][0] == Prompt("the king takes the", ("crown", "sword", "horse", "letter"))


def test_each_form_is_measured_shown_and_compared(
    file: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for run in runs:
        found.append(str(tmp_path / f"{run.name}.json"))
        assert main(["evaluate", str(run), "--tasks", f"{file}", "--device", "cpu", "--json", found[-1]]) == 0
    summary, measured = results.read(Path(found[1]))
    assert list(measured) == ["quiz", "schema", "grammar", "last_word", "gold", "writes"]
    assert summary["tasks"]["quiz"]["shots"] == 2
    assert summary["tasks"]["quiz"]["source"]["file"] == str(tmp_path / "rows.jsonl")
    assert summary["tasks"]["grammar"]["groups"].keys() == {"A", "B"}
    assert measured["grammar"].estimates["accuracy"].value == 1.0
    assert measured["writes"].estimates["exact_match"].value == 1.0, "the only things that a king takes"
    capsys.readouterr()
    assert main(["compare", *found]) == 0, "the forms are known without the file of tasks"
    assert "exact_match" in capsys.readouterr().out


def test_prompts_that_are_cut_are_counted(evaluated: EvaluatedModel) -> None:
    asked = []

    def write(model: object, tokenizer: object, prompts: list[str], config: object) -> list[SimpleNamespace]:
        asked.extend(prompts)
        return [SimpleNamespace(text="crown") for _ in prompts]

    model = replace(evaluated, context=24, generator=write)
    items = [Prompt("the king takes", ("crown",)), Prompt("the king takes the sword. " * 9, ("crown",))]
    assert measure_generation(model, items, match="contains", max_new_tokens=4).counts == {"cut": 1}
    assert asked[0] == items[0].prompt
    assert 0 < len(asked[1]) < len(items[1].prompt)
    with pytest.raises(UserError, match=r"24 tokens \(max_new_tokens\), but the context has 24, so there is no room"):
        measure_generation(model, items, max_new_tokens=24)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("{form: chioce, file: rows.jsonl}", "form is 'chioce', but it must be one of choice"),
        ("{form: choice, file: rows.jsonl, prompt: a}", "choices is None, but it must be set for the form choice"),
        ("{form: answer, file: rows.jsonl, promt: a}", 'unknown setting "promt". Did you mean "prompt"?'),
        ("{form: answer}", "file must be set"),
        ("{file: rows.jsonl}", "form must be set"),
        ("{form: answer, file: 3, prompt: a, continuation: b}", "file is '3', but it must be a text"),
        ("{form: answer, file: rows.jsonl, prompt: a, continuation: b, shots: two}", "shots is 'two', but it must be"),
        ("{form: answer, file: empty.jsonl, prompt: a, continuation: b}", "empty.jsonl is empty"),
        ("{form: answer, file: rows.jsonl, prompt: a, continuation: b, shots: 1, shots_file: n.jsonl}", "There is no"),
        ("{form: pairs, file: rows.jsonl, good: a, bad: '{{q if false}}'}", "row 1: bad of task quiz is empty"),
        ("{form: choice, file: rows.jsonl, prompt: a, choices: [a, ' '], answer: 0}", "choice 1 of task quiz is"),
        ("- quiz", "must hold tasks by name"),
        ("quiz: [", "is not YAML"),
        ("a/b: {form: answer, file: rows.jsonl, prompt: a, continuation: b}", 'a task cannot be called "a/b"'),
        ("{form: answer, file: no.jsonl, prompt: a, continuation: b}", "There is no file"),
        (
            "{form: answer, file: rows.jsonl, prompt: '{{quest}}', continuation: b}",
            "'quest' is undefined. The row has q",
        ),
        ("{form: answer, file: rows.jsonl, prompt: '{{q', continuation: b}", "row 1: prompt of task quiz"),
        ("{form: answer, file: rows.jsonl, prompt: a, continuation: ' '}", "continuation of task quiz is empty"),
        ("{form: choice, file: rows.jsonl, prompt: a, choices: q, answer: 0}", "needs two choices or more"),
        ("{form: choice, file: rows.jsonl, prompt: a, choices: number, answer: 0}", "must give a list of texts"),
        ("{form: choice, file: rows.jsonl, prompt: a, choices: options, answer: q}", "the letter or the text of one"),
        (
            "{form: choice, file: rows.jsonl, prompt: a, choices: options, answer: number}",
            "the label is 7, but it must be 0 to 1",
        ),
        ("{form: choice, file: rows.jsonl, prompt: a, choices: options, answer: gold}", "the row has no gold"),
        (
            "{form: choice, file: rows.jsonl, prompt: a, choices: [a, b], answer: number > 1}",
            'gives True, but it must give the number (from 0), the letter or the text of one of the choices. For true '
            'and false give the number: "1 if number > 1 else 0".',
        ),
        (
            "{form: choice, file: rows.jsonl, prompt: a, choices: [a, b], answer: number / 2}",
            "answer of task quiz gives 3.5",
        ),
        ("{form: generate, file: rows.jsonl, prompt: a, answers: [' ']}", "an answer of task quiz is empty"),
        ("{form: answer, file: rows.csv, prompt: a, continuation: b}", "rows.csv must hold JSON objects"),
        ("{form: answer, file: rows.jsonl, prompt: a, continuation: b, shots: 3}", "there are only 2 rows"),
        ("{form: pairs, file: rows.jsonl, good: a, bad: b, shots: 1}", "shots is 1, but it must be 0, because pairs"),
        ("{form: generate, file: rows.jsonl, prompt: a, answers: [b], match: fuzzy}", "match is 'fuzzy'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(task: str, says: str, file: Path) -> None:
    (file.parent / "empty.jsonl").touch()
    (file.parent / "rows.csv").write_text("question,answer\na,b\n")
    file.write_text(f"quiz: {task}" if task.startswith("{") else task)

    def read() -> Any:
        return [items_of(name, task, "") for name, task in read_own_tasks(file).items()]

    with pytest.raises(UserError) as found:
        read()
    assert says in str(found.value)
    assert "\n" not in str(found.value)


def test_a_name_belongs_to_one_task(file: Path) -> None:
    for name in ("hellaswag", "corpora"):
        file.write_text(f"{name}: {{form: answer, file: rows.jsonl, prompt: a, continuation: b}}")
        with pytest.raises(UserError, match=f'another task is called "{name}". Give this one a name of its own'):
            choose(EvaluationSettings(tasks=str(file)))
    file.write_text("mine: {form: answer, file: rows.jsonl, prompt: a, continuation: b}")
    second = file.with_name("second.yaml")
    second.write_text(file.read_text())
    with pytest.raises(UserError, match=r'second.yaml: another task is called "mine"'):
        choose(EvaluationSettings(tasks=f"{file},{second}"))


def test_a_template_is_compiled_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    compile_ = SandboxedEnvironment.compile

    def counted(self: Any, source: Any, *rest: Any, **more: Any) -> Any:
        compiled.append(source)
        return compile_(self, source, *rest, **more)

    monkeypatch.setattr(SandboxedEnvironment, "compile", counted)
    for name, task in read_own_tasks(file).items():
        compiled.clear()
        items_of(name, task, "")
        assert len(compiled) == len({str(source) for source in compiled}), name


@pytest.mark.parametrize(
    ("match", "text", "answer", "right"),
    [
        ("normalised", "", "A", False),
        ("normalised", "the", "A", False),
        ("normalised", "a.", "A", True),
        ("normalised", "The king", "a king", True),
        ("normalised", "", "?", False),
        ("contains", "The answer is A", "A", True),
        ("contains", "", "A", False),
        ("number", "it is 5.0", "5", True),
        ("number", "1,000", "1000", True),
        ("number", "10-3", "3", True),
        ("number", "-3", "3", False),
        ("number", "none", "3", False),
    ],
)
def test_an_answer_matches_what_it_says(match: str, text: str, answer: str, right: bool) -> None:
    assert MATCHES[match](text, answer) is right


def test_a_template_cannot_reach_the_machine(file: Path) -> None:
    file.write_text('quiz: {form: answer, file: rows.jsonl, prompt: "{{ q.__class__.mro() }}", continuation: b}')
    with pytest.raises(UserError, match="access to attribute '__class__' of 'str' object is unsafe"):
        items_of("quiz", read_own_tasks(file)["quiz"], "")


def test_a_missing_file_of_tasks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file of tasks"):
        read_own_tasks(tmp_path / "none.yaml")
