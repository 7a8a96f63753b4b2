"""`gpt-research finetune --study`, from its files to its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from finetuning.conftest import rows_of, write_rows

from gpt_research.cli import main
from gpt_research.finetuning.settings import FinetuneSettings

Settings = Callable[..., FinetuneSettings]


@pytest.mark.slow
def test_a_study_trains_both_sides_and_goes_on(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, out = settings(), tmp_path / "study"
    rows = [*rows_of("classify", 8, seed=2), {"text": "the king " * 60, "label": "good"}]
    test = write_rows(tmp_path / "test.jsonl", rows)
    files = ["--data", asked.data, "--val", asked.val, "--task", "classify", "--device", "cpu", "--precision", "fp32"]
    how = ["--sizes", "12", "--seeds", "2", "--tune_at", "8", "--epochs", "1", "--learning_rate", "0.003"]
    command = ["finetune", asked.run, "--study", *files, *how, "--workers", "1"]
    # What cannot be used is said before anything is trained.
    assert main([*command, "--test", test, "--out", str(out), "--long", "refuse"]) == 2
    assert "1 of 9 examples in" in capsys.readouterr().err
    wrong = write_rows(tmp_path / "wrong.jsonl", [{"text": "a fool", "label": "ugly"}])
    assert main([*command, "--test", wrong, "--out", str(out)]) == 2
    assert "line 1 has the label 'ugly'" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--test", test, "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert [one["examples"] for one in result["sizes"]] == [12]
    assert any(f"1 of 9 examples in {test} are longer than the context" in remark for remark in result["remarks"])
    printed = capsys.readouterr().out
    assert f"Page: {out}/study.html" in printed
    assert "test examples" in printed
    trials = (out / "trials.jsonl").read_text()
    lines = [json.loads(line) for line in trials.splitlines()]
    assert all(line["steps"] > 0 for line in lines)
    assert not any((out / "trials").iterdir())
    assert main([*command, "--test", test, "--out", str(out)]) == 0
    assert (out / "trials.jsonl").read_text() == trials, "nothing is trained anew"
