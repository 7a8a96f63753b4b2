"""`evaluate` writes all it takes to repeat and compare a result; what is wrong with its input is
one sentence.
"""

from __future__ import annotations

import bz2
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpt_research.base.files import file_sha256
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.evaluation import results
from gpt_research.evaluation.forms import CHOICE_METRICS
from gpt_research.evaluation.provenance import contamination
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.training.loop import train

LIMITED = ["--limit", "20", "--device", "cpu"]


@pytest.fixture
def evaluated(runs: tuple[Path, Path], benchmarks: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of both runs, evaluated."""
    copies = tmp_path / "short", tmp_path / "long"
    for run, copy in zip(runs, copies, strict=True):
        shutil.copytree(run, copy)
        assert main(["evaluate", str(copy), "--benchmarks", str(benchmarks), *LIMITED]) == 0
    return copies


def test_a_result_names_all_it_takes_to_repeat_it(
    evaluated: tuple[Path, Path], benchmarks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, found = results.read(evaluated[0] / "evaluation.json")
    state = json.loads((evaluated[0] / "checkpoints/step_00000007/state.json").read_text())
    assert summary["step"] == 7
    assert summary["lineage"] == state["lineage"]
    assert summary["weights_sha256"] == state["files"]["model.safetensors"]["sha256"]
    assert (summary["precision"], summary["context"]) == ("fp32", 48)
    assert {"torch", "gpt-research", "python"} <= summary["versions"].keys()
    assert summary["settings"]["limit"] == 20
    assert list(summary["tasks"]) == ["wikitext2", "lambada", "hellaswag"], "no data set, so no corpora"
    assert summary["tasks"]["wikitext2"]["stride"] == 48
    assert summary["tasks"]["lambada"]["source"]["sha256"] == file_sha256(benchmarks / "lambada/test.jsonl")
    assert all(result.items == 20 for result in found.values())
    for task, result in found.items():
        for name, estimate in result.estimates.items():  # the side file alone gives the scores again
            assert summary["tasks"][task]["scores"][name]["value"] == pytest.approx(estimate.value, rel=1e-7)

    settings = summary["settings"]
    again = [f"--{k}={v}" for k, v in settings.items() if k not in ("run", "data", "json") and v is not None]
    assert main(["evaluate", str(evaluated[0]), "--json", str(evaluated[0] / "again.json"), *again]) == 0
    repeated = json.loads((evaluated[0] / "again.json").read_text())
    assert repeated["tasks"] == summary["tasks"]


def test_scores_stand_beside_the_published_ones(
    runs: tuple[Path, Path], benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "result.json")
    assert main(["evaluate", str(runs[1]), "--benchmarks", str(benchmarks), "--json", where, *LIMITED]) == 0
    printed = capsys.readouterr().out
    for said in ("43.34 at 256", "40.06 at 1,024", "0.3256 at 1,024", "0.3114 at 1,024", "stride 48", "20 passages"):
        assert said in printed


def test_contamination_is_that_of_the_data_the_run_was_trained_on(
    tiny_run: TrainConfig, text_folder: Path, tmp_path: Path, benchmarks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known" / "lambada"
    known.mkdir(parents=True)
    passage = " ".join((text_folder / "07.txt").read_text(encoding="utf-8").split()[:30])
    (known / "test.jsonl").write_text(json.dumps({"text": passage}) + "\n", encoding="utf-8")
    data = str(tmp_path / "tokens")
    options: dict[str, Any] = {"tokenizer": "train", "vocab_size": 300, "workers": 1, "near_duplicates": False}
    preprocess(PreprocessConfig(corpora=[f"plays={text_folder}"], out=data, benchmarks=str(known.parent), **options))
    train(replace(tiny_run, data=data, max_steps=2, eval_interval=0))
    arguments = ["evaluate", tiny_run.out, "--benchmarks", str(benchmarks), *LIMITED]
    assert main([*arguments, "--tasks", "lambada,hellaswag"]) == 0
    tasks = json.loads((Path(tiny_run.out) / "evaluation.json").read_text())["tasks"]
    assert tasks["lambada"]["contamination"] == {"documents": 1, "of": 40}
    assert tasks["hellaswag"]["contamination"]["why"].startswith("not looked for")
    assert "in the training data: 1 of 40 documents" in " ".join(capsys.readouterr().out.split())
    assert contamination(data, {"data": "0" * 64}, "lambada")["why"].endswith("is not what the run was trained on")


def test_two_runs_are_compared_pair_by_pair(
    evaluated: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "difference.json")
    assert main(["compare", *map(str, evaluated), "--json", out]) == 0
    found = json.loads(Path(out).read_text())
    rows = {(row["task"], row["score"]): row for row in found["differences"]}
    summaries = [json.loads((run / "evaluation.json").read_text())["tasks"] for run in evaluated]
    for (task, score), row in rows.items():
        a, b = (summary[task]["scores"][score]["value"] for summary in summaries)
        assert row["value"] == pytest.approx(b - a, rel=1e-5, abs=1e-9)
        assert row["low"] <= row["value"] <= row["high"]
    assert {name for task, name in rows if task == "hellaswag"} == set(CHOICE_METRICS)
    assert rows["lambada", "perplexity"]["better"] == "B", "three times the training must show"
    assert any("only 20 passages" in remark for remark in found["remarks"])
    assert "lambada: 20 passages" in capsys.readouterr().out


def test_other_items_are_not_compared(
    evaluated: tuple[Path, Path], benchmarks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(evaluated[1]), "--benchmarks", str(benchmarks), "--device", "cpu"]
    assert main([*arguments, "--tasks", "lambada", "--limit", "19"]) == 0
    assert main(["compare", *map(str, evaluated)]) == 2
    said = capsys.readouterr().err
    assert "have no items in common" in said
    assert "lambada: not the same items (20 and 19)" in said
    assert main([*arguments, "--tasks", "lambada", "--limit", "20", "--context", "24"]) == 0
    assert main(["compare", *map(str, evaluated)]) == 0
    assert "lambada: context 48 and 24." in capsys.readouterr().out


def test_a_changed_side_file_is_noticed(evaluated: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    items = evaluated[0] / "evaluation.items.jsonl"
    items.write_text(items.read_text().replace("1", "2", 1))
    assert main(["compare", *map(str, evaluated)]) == 2
    assert "does not belong to" in capsys.readouterr().err


def test_one_document_has_a_loss_and_no_error(
    tiny_run: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "one.txt").write_text("the king takes the sword. " * 200, encoding="utf-8")
    (tmp_path / "text" / "two.txt").write_text("a fool loves the horse and the crown. " * 200, encoding="utf-8")
    data = str(tmp_path / "tokens")
    options: dict[str, Any] = {"tokenizer": f"{tiny_run.data}/tokenizer.json", "workers": 1, "near_duplicates": False}
    preprocess(PreprocessConfig(corpora=[f"plays={tmp_path / 'text'}"], out=data, val_fraction=0.5, **options))
    train(replace(tiny_run, max_steps=1, eval_interval=0))
    assert main(["evaluate", tiny_run.out, "--data", data, "--device", "cpu"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "nan" not in printed
    assert "±" not in printed
    assert "corpora/plays: only 1 document, so its scores have no standard error" in printed
    score = json.loads((Path(tiny_run.out) / "evaluation.json").read_text())["tasks"]["corpora/plays"]["scores"]["loss"]
    assert score["standard_error"] is None
    assert score["value"] > 0


def cut_lambada_in_a_row(folder: Path) -> None:
    path = folder / "lambada/test.jsonl"
    path.write_bytes(path.read_bytes()[:5000])


def cut_lambada_between_rows(folder: Path) -> None:
    path = folder / "lambada/test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4000]))


def cut_bz2(folder: Path) -> None:
    path = folder / "hellaswag/val.txt.bz2"
    path.write_bytes(path.read_bytes()[:-100])


def change_hellaswag(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "hellaswag/val.txt.bz2"
        lines = change(bz2.decompress(path.read_bytes()).decode().splitlines())
        path.write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))

    return apply


def cut_wikitext(size: int) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "wikitext2/wiki.test.raw"
        path.write_bytes(path.read_bytes()[:size])

    return apply


def rewrite_lambada(line: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "lambada/test.jsonl"
        path.write_text((line + "\n") * 5153)

    return apply


@pytest.mark.parametrize(
    ("task", "damage", "says"),
    [
        ("lambada", cut_lambada_in_a_row, "test.jsonl, line 44 is not JSON"),
        ("lambada", cut_lambada_between_rows, "holds 4,000 rows, but LAMBADA's test set (OpenAI's) has 5,153"),
        ("lambada", rewrite_lambada("[1]"), "test.jsonl, line 1 is not a JSON object"),
        ("lambada", rewrite_lambada('{"txt": "a b"}'), 'row 1: "text" is missing'),
        ("lambada", lambda folder: shutil.rmtree(folder / "lambada"), "There is no"),
        ("lambada", lambda folder: shutil.copy(folder / "lambada/test.jsonl", folder / "lambada/b.jsonl"), "several"),
        ("hellaswag", cut_bz2, "val.txt.bz2 cannot be read"),
        ("hellaswag", change_hellaswag(lambda lines: lines[:-2]), "no multiple of 6"),
        ("hellaswag", change_hellaswag(lambda lines: lines[:-6]), "holds 10,041 rows"),
        ("hellaswag", change_hellaswag(lambda lines: [lines[0], "5", *lines[2:]]), "line 2: the label is '5'"),
        ("wikitext2", cut_wikitext(3000), "wiki.test.raw ends in the middle of a line"),
        ("wikitext2", cut_wikitext(2), "holds 1 rows, but WikiText-2's test set has 4,358"),
    ],
)
def test_a_damaged_benchmark_is_one_sentence(
    runs: tuple[Path, Path],
    benchmarks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    damage: Callable[[Path], None],
    says: str,
) -> None:
    folder = tmp_path / "benchmarks"
    shutil.copytree(benchmarks, folder)
    damage(folder)
    arguments = ["--benchmarks", str(folder), "--tasks", task, "--device", "cpu", "--limit", "3"]
    assert main(["evaluate", str(runs[0]), "--json", str(tmp_path / "r.json"), *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert str(folder / task) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tasks", "helaswag"], 'There is no task "helaswag". Did you mean "hellaswag"?'),
        (["--stride", "0"], "stride is 0, but it must be 1 to the context"),
        (["--tasks", "wikitext2", "--stride", "49"], "stride is 49, but it must be 1 to 48"),
        (["--context", "49"], "context is 49, but the model's is 48"),
        (["--context", "1"], "context is 1, but it must be 2 or more"),
        (["--limit", "-1"], "limit is -1"),
        (["--tasks", "corpora"], "No data set at"),
        (["--benchmarks", "nowhere"], "There is no folder nowhere (--benchmarks)"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    runs: tuple[Path, Path],
    benchmarks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    common = ["--benchmarks", str(benchmarks), "--json", str(tmp_path / "r.json"), "--device", "cpu"]
    assert main(["evaluate", str(runs[0]), *common, *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_missing_extras_name_their_remedy(
    runs: tuple[Path, Path],
    benchmarks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("datasets", "lm_eval", "lm_eval.api", "lm_eval.api.model"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "gpt_research.evaluation.harness", raising=False)
    common = ["evaluate", str(runs[0]), "--json", str(tmp_path / "r.json"), "--tasks", "lambada", *LIMITED]
    assert main(common) == 2
    assert '[hub]"' in capsys.readouterr().err
    assert main([*common, "--benchmarks", str(benchmarks), "--harness"]) == 2
    assert '[eval]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "two or more run folders or result files"),
        (["{run}"], "two or more run folders or result files"),
        (["a", "b", "c"], "There is no run folder or result file a."),
        (["nowhere", "nothing"], "There is no run folder or result file nowhere."),
        (["{run}", "{run}"], "was not evaluated yet. Run: "),
        (["{run}/config.yaml", "{run}/config.yaml"], "config.yaml is damaged"),
        (["{run}", "{run}", "--confidence", "95"], "confidence is 95.0, but it must be between 0 and 1"),
    ],
)
def test_a_wrong_comparison_is_one_sentence(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["compare", *(argument.replace("{run}", str(runs[0])) for argument in arguments)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
