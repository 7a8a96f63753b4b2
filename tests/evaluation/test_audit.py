"""An audit measures published scores anew, and names the fault that gives a wrong one."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main
from gpt_research.evaluation import ready_requests
from gpt_research.evaluation.audit import Published, _variants, audit, read_published
from gpt_research.evaluation.chosen_tasks import items_of
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.faults import FAULTS
from gpt_research.evaluation.tasks.table import TASKS

LIMIT = 40


@pytest.fixture
def published(evaluated: EvaluatedModel, benchmarks: Path, tmp_path: Path) -> Path:
    """A file of scores: two as they are, one with the digits of each of three faults, one wrong."""
    tasks = {name: TASKS[name] for name in ("lambada", "hellaswag")}
    items = {name: items_of(name, task, str(benchmarks))[1][:LIMIT] for name, task in tasks.items()}
    right = {name: task.measure(evaluated, items[name]) for name, task in tasks.items()}
    metric = tasks["lambada"].metrics["bits_per_byte"]
    counts, asks = FAULTS["space not counted"].counts, FAULTS["left padding"].asks
    assert counts is not None
    assert asks is not None
    padded = metric.estimate(tasks["lambada"].measure(asks(evaluated), items["lambada"]).columns).value
    norm = tasks["hellaswag"].metrics["accuracy_norm"].estimate(right["hellaswag"].columns).value
    rows = [
        ("lambada", "bpb", round(metric.estimate(right["lambada"].columns).value, 4)),
        ("lambada", "bpb", round(counts(right["lambada"], items["lambada"], metric) or 0, 4)),
        ("lambada", "bpb", round(padded, 4)),
        ("hellaswag", "acc", round(100 * norm, 2)),
        ("lambada", "ppl", 123456.7),
    ]
    path = tmp_path / "published.jsonl"
    lines = [json.dumps(dict(zip(("task", "metric", "value"), row, strict=True))) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_audit_names_the_fault_that_gives_the_published_digits(
    published: Path, evaluated: EvaluatedModel, benchmarks: Path
) -> None:
    found = list(audit(evaluated, read_published(published), str(benchmarks), LIMIT))
    assert [one.agrees for one in found] == [True, False, False, False, False]
    assert any("the space before an answer was scored but not counted" in cause for cause in found[1].causes)
    assert any("padded on the left" in cause for cause in found[2].causes)
    assert any("it is accuracy_norm" in cause for cause in found[3].causes)
    assert found[4].causes == []
    assert "No known fault, metric or variant gives the published digits." in found[4].sentence()
    assert "on 40 of 5,153 items" in found[0].sentence()


def test_the_ready_requests_may_lie_in_the_folder_of_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def names(folder: str = "") -> list[str]:
        asked.append(folder)
        return ["lambada/rc_5shot"]

    monkeypatch.setattr(ready_requests, "names", names)
    path = tmp_path / "published.jsonl"
    path.write_text('{"task": "lambada", "variant": "rc", "shots": 5, "value": 0.3}\n')
    assert [one.task for one in read_published(path, "here")] == ["lambada:rc_5shot"]
    published = Published("lambada:rc_5shot", "accuracy", Decimal("0.3"), 1)
    assert not list(_variants(published, pytest.fail, "here")), "its own variant is not measured again"
    assert asked == ["here", "here"]


def test_the_command_tells_and_counts(
    published: Path, runs: tuple[Path, Path], benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published.write_text(published.read_text().splitlines()[0] + "\n")
    common = ["evaluate", str(runs[1]), "--audit", str(published), "--benchmarks", str(benchmarks), "--device", "cpu"]
    where = tmp_path / "audit.json"
    assert main([*common, "--limit", str(LIMIT), "--json", str(where)]) == 0
    assert "1 of 1 published scores hold" in capsys.readouterr().out
    assert json.loads(where.read_text())["audit"][0]["agrees"] is True
    assert main([*common, "--limit", str(LIMIT - 20)]) == 1, "other items, another score"
    assert main([*common, "--context", "1024"]) == 2
    assert "context is 1024, but the model's is" in capsys.readouterr().err


def test_a_fault_is_tried_with_a_stride_that_it_allows(evaluated: EvaluatedModel) -> None:
    halved = FAULTS["half the context"].asks
    assert halved is not None
    assert halved(dataclasses.replace(evaluated, stride=evaluated.context)).stride == evaluated.context // 2
    assert halved(evaluated).stride is None


def test_a_variant_that_cannot_be_asked_ends_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_requests, "names", lambda folder="": ["lambada/rc_0shot"])

    def refuse(name: str) -> Any:
        raise UserError("the tokenizer can encode none of its items")

    assert not list(_variants(Published("lambada", "accuracy", Decimal("0.3"), 1), refuse, ""))


@pytest.mark.parametrize(
    ("named", "shots", "task"),
    [
        ("squad", "", "squad"),
        ("squad", ', "shots": 5', "squad"),
        ("squad", ', "shots": 0', "squad:bpb_0shot"),
        ("squad:bpb_0shot", ', "shots": 0', "squad:bpb_0shot"),
    ],
)
def test_shots_are_those_of_the_task_or_name_a_variant(
    named: str, shots: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_requests, "names", lambda folder="": ["squad/bpb_0shot", "squad/bpb_5shot"])
    (tmp_path / "p.jsonl").write_text(f'{{"task": "{named}"{shots}, "metric": "bpb", "value": 3.1}}\n')
    assert read_published(tmp_path / "p.jsonl")[0].task == task


@pytest.mark.parametrize(
    ("value", "measured", "agrees"),
    [
        ("0.31", 0.3149, True),
        ("0.31", 0.3151, False),
        ("31.1", 0.3114, True),
        ("31.1", 0.3116, False),
        ("1", 1.0, True),
    ],
)
def test_as_many_digits_count_as_were_published(value: str, measured: float, agrees: bool, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"task": "lambada", "metric": "acc", "value": {value}}}\n')
    (one,) = read_published(path)
    assert isinstance(one, Published)
    assert one.agrees(measured) == agrees


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1 is not JSON"),
        ('{"task": "lambada", "value": "0.3"}', "with task, metric and value, which is a number"),
        ('{"task": "lambda", "value": 0.3}', 'line 1: There is no task "lambda". Did you mean "lambada"?'),
        ('{"task": "corpora", "value": 0.3}', "corpora is no benchmark"),
        ('{"task": "lambada", "metric": "accurcy", "value": 0.3}', 'no metric "accurcy". Did you mean "accuracy"?'),
        ('{"task": "lambada", "metrics": "acc", "value": 0.3}', 'there is no field "metrics"'),
        ('{"task": "lambada", "variant": "rc", "shots": 5, "value": 0.3}', "could not be fetched"),
        ("", "holds no score"),
        ('{"task": "squad:bpb_0shot", "shots": 5, "value": 3.1}', "names its variant and shots already"),
        ('{"task": "lambada", "shots": "five", "value": 0.3}', "shots is five, but it must be a whole number"),
        ('{"task": "lambada", "value": 1e999}', "with task, metric and value, which is a number"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(line + "\n")
    with pytest.raises(UserError) as found:
        read_published(tmp_path / "p.jsonl")
    assert says in str(found.value)
