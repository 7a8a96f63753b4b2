"""A task is one record: what `TASKS` holds is evaluated, shown, compared and looked for in training
data.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_research.base import plugins
from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main
from gpt_research.evaluation import results
from gpt_research.evaluation.passages import passages_of
from gpt_research.evaluation.tasks.table import TASKS
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig

PLUGIN = '''
"""Does the model prefer the ending that its author wrote? One row: {"line": ..., "good": ..., "bad": ...}."""

from gpt_research.evaluation.benchmark_files import BenchmarkFiles, text_of
from gpt_research.evaluation.statistics import ACCURACY
from gpt_research.evaluation.task import Measurement, Task
from gpt_research.evaluation.tasks.table import TASKS


def read(source):
    names = ("line", "good", "bad")
    return [[text_of(source, number, name) for name in names] for number in range(len(source.rows))]


def measure(model, items):
    endings = model.continuations([(line, end) for line, good, bad in items for end in (good, bad)])
    nats = endings.nats.reshape(-1, 2)  # (items, good and bad)
    return Measurement({"correct": nats[:, 0] < nats[:, 1]}, counts={"cut": endings.cut})


TASKS["endings"] = Task(
    files=BenchmarkFiles("my endings", ("*.jsonl",)),
    unit="pairs",
    read=read,
    measure=measure,
    metrics={"accuracy": ACCURACY},
    passages=lambda source: [f"{line}{good}" for line, good, _ in read(source)],
)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The plugin's file, to be loaded for one test."""
    monkeypatch.setattr(plugins, "LOADED", {})
    (tmp_path / "endings.py").write_text(PLUGIN)
    yield str(tmp_path / "endings.py")
    TASKS.pop("endings", None)


@pytest.fixture
def own_benchmark(tmp_path: Path) -> Path:
    """A folder of benchmarks that holds one of the user's own, in the language of the runs."""
    (folder := tmp_path / "own" / "endings").mkdir(parents=True)
    rows = [{"line": "a fool loves", "good": f" the {thing}", "bad": " lambs"} for thing in ("crown", "sword")]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


def test_a_task_of_a_plugin_is_evaluated_shown_and_compared(
    plugin: str, own_benchmark: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / f"{name}.json") for name in ("a", "b")]
    for run, file in zip(runs, files, strict=True):
        asked = ["--tasks", "endings", "--benchmarks", str(own_benchmark), "--json", file, "--device", "cpu"]
        assert main(["evaluate", str(run), *asked, "--plugin", plugin]) == 0
    summary, found = results.read(Path(files[1]))
    task = summary["tasks"]["endings"]
    assert task["scores"]["accuracy"]["value"] == found["endings"].columns["correct"].mean() == 1.0
    assert (task["unit"], task["items"], task["cut"], task["context"]) == ("pairs", 2, 0, 48)
    assert "endings: 2 pairs" in capsys.readouterr().out
    assert main(["compare", *files]) == 0
    assert "endings: only 2 pairs" in capsys.readouterr().out
    del TASKS["endings"]  # as in a process without the plugin
    assert main(["compare", *files]) == 2
    assert 'the task "endings", which is not known here. If a plugin adds it' in capsys.readouterr().err


def test_a_task_of_a_plugin_is_looked_for_in_training_data(
    plugin: str, own_benchmark: Path, text_folder: Path, tmp_path: Path
) -> None:
    plugins.load(plugin)
    words = (text_folder / "07.txt").read_text(encoding="utf-8").split()
    others = (text_folder / "08.txt").read_text(encoding="utf-8").split()
    row = {"line": " ".join(words[:20]), "good": " ".join(["", *words[20:30]]), "bad": " ".join(others[:30])}
    (own_benchmark / "endings" / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert list(passages_of(own_benchmark / "endings", "endings")) == [" ".join(words[:30])]
    options: dict[str, Any] = {"tokenizer": "train", "vocab_size": 300, "workers": 1, "near_duplicates": False}
    out = tmp_path / "tokens"
    preprocess(
        PreprocessConfig(corpora=[f"plays={text_folder}"], out=str(out), benchmarks=str(own_benchmark), **options)
    )
    manifest = json.loads((out / "plays" / "manifest.json").read_text())
    assert manifest["contamination"] == {"endings": 1}, "the bad ending, of another document, is not looked for"


def test_a_task_without_a_hub_or_a_file_says_where_to_put_one(
    plugin: str, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", str(runs[0]), "--tasks", "endings", "--json", str(tmp_path / "r.json"), "--device", "cpu"]
    assert main([*asked, "--plugin", plugin]) == 2
    assert "my endings is not on the hub. Name a folder that holds endings/" in capsys.readouterr().err
    assert main([*asked, "--benchmarks", str(tmp_path)]) == 2
    assert f"There is no {tmp_path}/endings/*.jsonl with my endings." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["wikitext2", "lambada", "hellaswag"])
def test_the_passages_of_a_task_are_texts_of_its_file(name: str, benchmarks: Path) -> None:
    passages = list(passages_of(benchmarks / name, name))
    assert len(passages) == TASKS[name].files.rows
    assert all(isinstance(passage, str) for passage in passages)


def test_every_text_of_an_unknown_benchmark_is_a_passage(tmp_path: Path) -> None:
    question = {"stem": "what is it", "choices": [{"text": "this", "label": "A"}, {"text": "that", "label": "B"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 7, "question": question, "answerKey": "A"}) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "one", "note": "no passage, for the row has a text"}) + "\n")
    (tmp_path / "c.txt").write_text("two\nthree")
    (tmp_path / "README.md").write_text("four\n")
    assert list(passages_of(tmp_path, "mine")) == ["what is it", "this", "A", "that", "B", "A", "one", "two", "three"]


@pytest.mark.parametrize("name", ["hellaswag", "some_name"])
def test_false_endings_of_hellaswag_are_no_passages_whatever_its_folder_is_called(name: str, tmp_path: Path) -> None:
    endings = ["goes.", "stays.", "runs.", "sits."]
    row = {"ctx": "[header] A man", "endings": endings, "label": "2"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "tasks.txt").write_text("\n".join(["A dog", "3", *endings]))
    assert [text.split() for text in passages_of(tmp_path, name)] == [["A", "man", "runs."], ["A", "dog", "sits."]]


def test_a_row_that_is_not_hellaswags_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"ctx": "A man", "endings": ["goes."], "label": ""}) + "\n")
    with pytest.raises(UserError, match=r"rows.jsonl, row 1: it must have ctx, endings and the label of one"):
        list(passages_of(tmp_path, "hellaswag"))


def test_the_texts_of_tasks_and_the_settings_need_no_torch() -> None:
    for module in ("gpt_research.evaluation.passages", "gpt_research.cli.evaluate", "gpt_research.cli.compare"):
        program = f"import sys, {module}; assert 'torch' not in sys.modules"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, module
