"""A study of what pretraining buys: paired draws, rates chosen apart, and going on after a stop."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_research.base.errors import UserError
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.lab.label_study import LabelStudy, TrialJob, TrialScore, run_study

Draw = tuple[bool, float, tuple[str, ...]]


def write(path: Path, count: int) -> str:
    rows = [{"text": f"text {number}", "label": "abc"[number % 3]} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def study(tmp_path: Path) -> LabelStudy:
    files = {name: write(tmp_path / f"{name}.jsonl", 40) for name in ("data", "val")}
    settings = FinetuneSettings(run="run", task="classify", out=str(tmp_path / "study"), **files)
    return LabelStudy(settings, write(tmp_path / "test.jsonl", 5), [10, 999], 3, 20)


def overlap() -> dict[str, Any]:
    return {"in_words": "0 of 5 test examples."}


class Trainings:
    """Takes trials without training: more examples and pretraining are better, and each side has
    its own best rate.
    """

    def __init__(self, most: int, *, is_tied: bool = False) -> None:
        self.left, self.is_tied, self.draws = most, is_tied, list[Draw]()

    def __call__(self, jobs: Iterable[TrialJob]) -> Iterator[tuple[TrialJob, TrialScore]]:
        for job in jobs:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            settings = job.settings
            assert settings.learning_rate is not None
            rows = [json.loads(line)["text"] for line in Path(settings.data).read_text().splitlines()]
            self.draws.append((settings.from_scratch, settings.learning_rate, tuple(rows)))
            doublings = abs(math.log2(settings.learning_rate / (0.8 if settings.from_scratch else 0.1)))
            noise = int(rows[-1].split()[1]) % 7 / 100
            score = len(rows) / 100 + 0.3 * (not settings.from_scratch) - doublings / 10 + noise
            assert (job.score, job.loss) == ("accuracy", "loss")
            if settings.learning_rate > 1.5:  # it diverges
                yield job, TrialScore(0.0, math.inf, 3, 1.0, 1.0)
            else:
                yield job, TrialScore(0.5 if self.is_tied else score, 2 - score, 3, 1.0, 1.0)


def test_both_sides_are_trained_alike_and_a_stopped_study_goes_on(study: LabelStudy) -> None:
    take = Trainings(most=7)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, take, 0.2, print, overlap)
    take.left = 999
    result = run_study(study, take, 0.2, print, overlap, ["2 of 40 examples were cut."])
    # The best rate lies between worse ones, 0.05 to 0.4 and 0.1 to 1.6, each on two seeds. Then two
    # sizes and three seeds come on each side; none is taken twice.
    assert len(take.draws) == 2 * (4 + 5) + 2 * 2 * 3
    assert result["rates"] == {"pretrained": 0.1, "from scratch": 0.8}
    assert all(tuned["best_is_inside"] for tuned in result["tuning"].values())
    small, large = result["sizes"]
    assert (small["examples"], large["examples"]) == (10, 40)
    assert small["difference"]["mean"] == pytest.approx(0.3)  # the draws are the same on both sides
    assert small["difference"]["low"] == pytest.approx(0.3)
    assert small["pretrained"]["low"] < small["pretrained"]["mean"] < small["pretrained"]["high"]
    assert large["pretrained"]["mean"] - small["pretrained"]["mean"] > 0.2
    of_size = [{draw[2] for draw in take.draws if len(draw[2]) == 10 and draw[0] == side} for side in (False, True)]
    assert of_size[0] == of_size[1]
    assert len(of_size[0]) == 3
    page = (Path(study.settings.out) / "study.html").read_text()
    assert "pretraining changes accuracy by 0.3000 (0.3000 to 0.3000): more than seeds differ" in page
    assert "2 of 40 examples were cut." in page
    assert result["tuning"]["from scratch"]["scores"]["1.6"] == 0
    assert "accuracy by labelled examples" in page
    assert "0 of 5 test examples." in page


def test_the_sizes_that_are_done_have_a_page_while_others_are_taken(study: LabelStudy) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(study, Trainings(most=2 * (4 + 5) + 2 * 3 + 1), 0.2, print, overlap)
    result = json.loads((Path(study.settings.out) / "result.json").read_text())
    assert [one["examples"] for one in result["sizes"]] == [10]
    assert (Path(study.settings.out) / "study.html").is_file()


def test_more_seeds_use_the_rates_and_the_trials_that_are_there(study: LabelStudy) -> None:
    before = run_study(study, Trainings(most=999), 0.2, print, overlap)
    take = Trainings(most=999)
    after = run_study(dataclasses.replace(study, seeds=4), take, 0.2, print, overlap)
    assert len(take.draws) == 2 * 2, "one more seed of two sizes on both sides"
    assert after["rates"] == before["rates"]
    with pytest.raises(UserError, match="seeds is 1001, but it must be 2 to 1000"):
        dataclasses.replace(study, seeds=1001)


def test_of_equal_scores_the_loss_decides(study: LabelStudy) -> None:
    """A model that always says the same has one score, whatever its rate."""
    result = run_study(study, Trainings(most=999, is_tied=True), 0.2, print, overlap)
    assert result["rates"] == {"pretrained": 0.1, "from scratch": 0.8}
    assert set(result["tuning"]["pretrained"]["scores"].values()) == {0.5}


def test_another_study_is_not_mixed_in(study: LabelStudy) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(study, Trainings(most=0), 0.2, print, overlap)
    write(Path(study.test), 6)
    with pytest.raises(UserError, match="holds a study with other settings or files"):
        run_study(study, Trainings(most=0), 0.2, print, overlap)


@pytest.mark.parametrize("part", [{"lora": 4}, {"layers": 1}])
def test_what_a_side_from_scratch_cannot_have_is_refused(study: LabelStudy, part: dict[str, int]) -> None:
    settings = dataclasses.replace(study.settings, **part)
    with pytest.raises(UserError, match=rf"{next(iter(part))} is \d, but it must be left out with --study, because"):
        dataclasses.replace(study, settings=settings)


def test_a_size_without_room_for_all_classes_is_refused(study: LabelStudy) -> None:
    study = dataclasses.replace(study, sizes=[2, 10])
    with pytest.raises(UserError, match=r"has 3 classes, and 2 examples cannot have one of each"):
        run_study(study, Trainings(most=0), 0.2, print, overlap)
