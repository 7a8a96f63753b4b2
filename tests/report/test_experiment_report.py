"""The reports of ablations, sweeps and lr-range tests, read from result.json."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from report.written_runs import HOSTILE, text_of, titles, write_ablation, write_lr_range, write_run, write_sweep

from gpt_research.cli.command_line import main
from gpt_research.report.verdicts import ratios
from gpt_research.report.write import write_report


def report(folder: Path) -> str:
    return write_report([folder], with_compressors=False).read_text(encoding="utf-8")


def test_an_ablation_shows_verdicts_pairs_ratios_curves_and_tuning(tmp_path: Path) -> None:
    result = write_ablation(tmp_path / "study", arms=("base", "rope", "muon"))
    page = report(tmp_path / "study")
    seen = text_of(page)
    assert (tmp_path / "study" / "report.html").is_file()
    for sentence in result["sentences"]:
        assert sentence in seen
    assert "rope better not decided -0.0500 -0.0800 to -0.0200 3" in seen
    assert "rope -0.1000 -0.1600 to -0.0400 0.006 0.004 3.1×" in seen
    ends = {
        (arm["name"], run["seed"]): run["bits_per_byte"]
        for arm in result["arms"]
        for run in arm["runs"]
        if run["horizon"] == 1
    }
    for seed in (1, 2, 3):
        both = [f"{ends[arm, seed] - ends['base', seed]:+.4f}" for arm in ("rope", "muon")]
        assert f"seed {seed} {' '.join(both)}" in seen
    assert "1.50 1.30 to 1.70" in seen
    assert "more than 2.00 –" in seen
    assert {"Validation", "Training loss", "Paired differences", "Learning rate", "Final loss by length of the run",
            "Tuning of learning_rate", "Bits per byte of wiki"} <= set(titles(page))  # fmt: skip
    assert "model.positions learned rope muon" in seen
    assert "processor a tested one" in seen
    assert "torch 2.13.0" in seen
    assert "gpt-research ablate demo --change model.positions=rope" in seen
    assert len(page.encode()) < 3_000_000


def test_a_whisker_is_drawn_to_scale(tmp_path: Path) -> None:
    write_ablation(tmp_path / "study")
    page = report(tmp_path / "study")
    table = page[page.index("Difference to base at horizon 1") :]
    zero, low, high, mean = (
        float(found[1])
        for pattern in (
            r'class="zero" d="M(\d+) ',
            r'class="line" d="M(\d+) ',
            r'class="line" d="M\d+ 8H(\d+)',
            r'class="dots" d="M(\d+) ',
        )
        if (found := re.search(pattern, table))
    )
    assert low < mean < high < zero
    assert (mean - low) / (zero - mean) == pytest.approx(0.03 / 0.05, rel=1e-3)
    assert (high - mean) / (zero - mean) == pytest.approx(0.03 / 0.05, rel=1e-3)


def test_a_diverged_arm_and_missing_runs_are_shown_as_such(tmp_path: Path) -> None:
    result = write_ablation(tmp_path / "study")
    run = result["arms"][1]["runs"][-1]
    run |= {
        "state": "diverged",
        "why": "no finite loss since step 50",
        "loss": None,
        "bits_per_byte": None,
        "corpora": {},
    }
    result["arms"][1]["runs"][-2] |= {
        "state": "failed",
        "why": "the worker died",
        "folder": "gone",
        "bits_per_byte": None,
    }
    result["comparisons"][-1] |= {
        "verdict": "diverged",
        "holm": None,
        "bits_per_byte": {"mean": None, "low": None, "high": None},
    }
    (tmp_path / "study" / "result.json").write_text(json.dumps(result))
    seen = text_of(report(tmp_path / "study"))
    assert "diverged: no finite loss since step 50" in seen
    assert "failed: the worker died" in seen
    assert "1 done, 1 diverged, 1 failed" in seen
    assert "rope diverged – – – 3" in seen


@pytest.mark.parametrize(
    "empty", [{"comparisons": [], "sentences": []}, {"arms": [], "comparisons": [], "sentences": []}]
)
def test_an_ablation_that_has_just_begun_has_a_report(tmp_path: Path, empty: dict[str, list[object]]) -> None:
    write_ablation(tmp_path / "study", **empty)
    assert "Nothing was compared yet." in text_of(report(tmp_path / "study"))


def test_a_report_needs_no_more_than_the_result_file(tmp_path: Path) -> None:
    """Run folders, and all that the result need not say, may be missing."""
    arms = [{"name": name, "runs": [{"seed": 1, "bits_per_byte": 2.0, "state": "done"}]} for name in ("base", "rope")]
    comparisons = [{"arm": "rope", "pairs": 1, "verdict": "not decided"}]
    (tmp_path / "result.json").write_text(
        json.dumps({"version": 1, "kind": "ablation", "arms": arms, "comparisons": comparisons})
    )
    assert "rope not decided – – – 1" in text_of(report(tmp_path))


def test_names_of_arms_that_hold_html_stay_text(tmp_path: Path) -> None:
    write_ablation(tmp_path / "study", arms=("base", HOSTILE))
    page = report(tmp_path / "study")
    assert page.count("<script>") == 1
    assert page.count("<img") == 0


def test_a_sweep_shows_the_answer_to_each_setting_and_its_optimum(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    page = report(tmp_path / "sweep")
    seen = text_of(page)
    assert "Best point: learning_rate 0.002, weight_decay 0.0, 2.0200 bits per byte." in seen
    assert "Optimum between the points: learning_rate 0.0021 (0.0016 to 0.0027)." in seen
    assert titles(page) == ["Bits per byte by learning_rate", "Bits per byte by weight_decay"]
    assert "0.004 0.1 – 1 diverged" in seen


def test_an_lr_range_test_shows_its_curve_and_suggestion(tmp_path: Path) -> None:
    write_lr_range(tmp_path / "range")
    page = report(tmp_path / "range")
    assert "Suggested learning rate: 0.004." in text_of(page)
    assert titles(page) == ["Loss by learning rate"]
    write_lr_range(tmp_path / "none", suggestion=None)
    assert "No learning rate can be suggested" in text_of(report(tmp_path / "none"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "result.json cannot be read"),
        ("[]", "result.json is of version None"),
        ('{"version": 2, "kind": "ablation"}', "result.json is of version 2, and this program reads 1."),
        ('{"version": 1, "kind": "poem"}', "is of the kind 'poem', but must be one of ablation, sweep, lr-range."),
        ('{"version": 1, "kind": "ablation", "arms": []}', "result.json is damaged: it has no list 'comparisons'."),
        ('{"version": 1, "kind": "ablation", "arms": [{"name": "a"}], "comparisons": []}', "arms[0] has no 'runs'"),
        ('{"version": 1, "kind": "sweep", "points": [1], "over": {}}', "points[0] has no 'settings'"),
    ],
)
def test_a_damaged_result_is_one_sentence(
    tmp_path: Path, content: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(content)
    assert main(["report", str(tmp_path), "--compressors", "false"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_an_experiment_is_reported_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lr_range(tmp_path / "range")
    write_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), str(tmp_path / "range")]) == 2
    assert "Name it alone, or name runs alone." in capsys.readouterr().err


def test_a_range_test_without_a_turn_says_why(tmp_path: Path) -> None:
    write_lr_range(tmp_path / "study", suggestion=None)
    path = tmp_path / "study" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "why": "Raise --high."}))
    assert "No learning rate can be suggested from this test. Raise --high." in text_of(report(tmp_path / "study"))


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, math.exp(700))])
def test_a_ratio_without_an_interval_shows_none(low: float | None, high: float | None) -> None:
    """The second is how 0.1 wrote it."""
    ratio = {"mean": 1.5, "low": low, "high": high, "beyond": None}
    result = {"arms": [{"name": "base"}], "comparisons": [{"arm": "rope", "tokens_ratio": ratio}]}
    page = ratios(result, 0.95)
    assert "rope 1.50 –" in text_of(page)
    assert 'class="line"' not in page
