"""A study of what pretraining buys: paired draws, rates chosen apart, and going on after a stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpt_research.base.errors import UserError
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.lab.label_study import LabelStudy, run_study

Draw = tuple[bool, float, tuple[str, ...]]


def write(path: Path, count: int) -> str:
    rows = [{"text": f"text {number}", "label": "abc"[number % 3]} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def study(tmp_path: Path) -> LabelStudy:
    files = {name: write(tmp_path / f"{name}.jsonl", 40) for name in ("data", "val")}
    settings = FinetuneSettings(run="run", task="classify", out=str(tmp_path / "study"), **files)
    return LabelStudy(settings, write(tmp_path / "test.jsonl", 5), [10, 999], 3, [0.1, 0.2], 20)


def test_both_sides_are_trained_alike_and_a_stopped_study_goes_on(study: LabelStudy) -> None:
    draws: list[Draw] = []
    left = [7]

    def train(settings: FinetuneSettings) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        rows = [json.loads(line)["text"] for line in Path(settings.data).read_text().splitlines()]
        draws.append((settings.from_scratch, settings.learning_rate or 0, tuple(rows)))
        Path(settings.out).mkdir()

    def judge(run: str, file: str) -> Mapping[str, float | None]:
        """More examples and pretraining are better; each side has its own best rate."""
        scratch, rate, rows = draws[-1]
        best = 0.2 if scratch else 0.1
        noise = int(rows[-1].split()[1]) % 7 / 100
        return {"accuracy": len(rows) / 100 + 0.3 * (not scratch) - abs(rate - best) + noise}

    with pytest.raises(KeyboardInterrupt):
        run_study(study, train, judge, print)
    left[0] = 999
    result = run_study(study, train, judge, print)
    # Two rates and two seeds on each side, then two sizes and three seeds; none is taken twice.
    assert len(draws) == 2 * 2 * 2 + 2 * 2 * 3
    assert result["rates"] == {"pretrained": 0.1, "from scratch": 0.2}
    small, large = result["sizes"]
    assert (small["examples"], large["examples"]) == (10, 40)
    assert small["difference"]["mean"] == pytest.approx(0.3)  # the draws are the same on both sides
    assert small["difference"]["low"] == pytest.approx(0.3)
    assert small["pretrained"]["low"] < small["pretrained"]["mean"] < small["pretrained"]["high"]
    assert large["pretrained"]["mean"] - small["pretrained"]["mean"] > 0.2
    of_size = [{draw[2] for draw in draws[8:] if len(draw[2]) == 10 and draw[0] == side} for side in (False, True)]
    assert of_size[0] == of_size[1]
    assert len(of_size[0]) == 3
    page = (Path(study.settings.out) / "study.html").read_text()
    assert "pretraining changes accuracy by 0.3000 (0.3000 to 0.3000): more than chance" in page
    assert "accuracy by labelled examples" in page


def test_another_study_is_not_mixed_in(study: LabelStudy) -> None:
    def train(settings: FinetuneSettings) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, train, lambda run, file: {}, print)
    write(Path(study.test), 6)
    with pytest.raises(UserError, match="holds a study with other settings, files or rates"):
        run_study(study, train, lambda run, file: {}, print)
