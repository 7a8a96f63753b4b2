"""The script that makes the studies of seven tasks: their files, and the page of all of them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from finetuning.conftest import rows_of, write_rows

SCRIPT = Path(__file__).parents[2] / "benchmarks/label_studies.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", sys.path[:])
    spec = importlib.util.spec_from_file_location("label_studies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(score: float) -> dict[str, Any]:
    def part(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}

    sizes = [
        {"examples": n, "pretrained": part(score), "from scratch": part(0.5), "difference": part(score - 0.5)}
        for n in (10, 500)
    ]
    return {"score": "accuracy", "sizes": sizes, "seeds": 5, "overlap": {"in_words": "1 of 9 test examples"}}


def test_each_task_gets_its_files_and_all_stand_on_one_page(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled, author = tmp_path / "labelled", tmp_path / "author"
    (labelled / "trec").mkdir(parents=True)
    lines = [f"{'DESC' if n % 2 else 'NUM'}:x question number {n}" for n in range(600)]
    (labelled / "trec/TREC.train").write_text("\n".join(lines), encoding="iso-8859-1")
    author.mkdir()
    write_rows(author / "train.jsonl", rows_of("classify", 4))
    asked: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        out = Path(command[command.index("--out") + 1])
        out.mkdir(parents=True)
        (out / "result.json").write_text(json.dumps(result(0.6 + len(asked) / 10)))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    flags = ["--labelled", str(labelled), "--author", str(author), "--out", str(tmp_path / "out"), "--tasks"]
    monkeypatch.setattr(sys, "argv", ["label_studies.py", "runs/x", *flags, "trec,author", "--workers", "2"])
    script.main()
    for command in asked:
        assert command[1:5] == ["-m", "gpt_research", "finetune", "runs/x"]
        assert command[-2:] == ["--workers", "2"]
    train, val = (Path(asked[0][asked[0].index(flag) + 1]).read_text().splitlines() for flag in ("--data", "--val"))
    assert (len(train), len(val)) == (100, 500)
    assert not set(train) & set(val)
    assert asked[1][asked[1].index("--data") + 1] == str(author / "train.jsonl")
    table = (tmp_path / "out/studies.md").read_text()
    assert "| trec | accuracy | 500 | 0.7000 (0.6000 to 0.8000) | 0.5000 (0.4000 to 0.6000) | 0.2000 " in table
    assert "- author: 1 of 9 test examples" in table
    page = (tmp_path / "out/studies.html").read_text()
    assert page.count('class="chart"') == 2
    assert "Page:" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["label_studies.py", "runs/x", *flags, "trek"])
    with pytest.raises(SystemExit, match="There is no task 'trek', only sst2, trec"):
        script.main()
