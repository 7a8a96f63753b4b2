"""What did pretraining buy? Accuracy against the number of labelled examples, with and without it.

Both sides have the same shape, the same examples and their own learning rate. The rate is chosen by
the same procedure: each of `rates` at `tune_at` examples on two seeds of their own, the best mean
score on the validation examples wins, and it is used at all sizes. Then each size is trained with
the same seeds on both sides, a seed being one draw of the examples and of everything else. Each
result is on the test examples. A study that was stopped goes on where it stopped.

    STUDY/trials.jsonl   one line for each trial that is done
    STUDY/result.json    the scores and the differences
    STUDY/study.html     one plot with bands, and the tables
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require
from gpt_research.base.files import file_sha256, write_json, write_text
from gpt_research.base.seeds import seed_for
from gpt_research.evaluation.statistics import student_quantile
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.finetuning.tables import Row, read_rows
from gpt_research.report.charts import Chart, Line, figure
from gpt_research.report.html import element, page, section, table

SIDES = ("pretrained", "from scratch")
CONFIDENCE = 0.95
MAIN_SCORE = {"similarity": "spearman", "complete": "exact", "chat": "exact"}
"""The score of a study by task; accuracy for the others."""

Trainer = Callable[[FinetuneSettings], Any]
Judge = Callable[[str, str], Mapping[str, float | None]]
"""Takes a run folder and a file of examples; returns the scores."""


@dataclass(frozen=True)
class LabelStudy:
    """What a study compares."""

    settings: FinetuneSettings
    """Of the fine-tunings; `data` is drawn from, `val` chooses the rates, `out` is the study."""
    test: str
    sizes: Sequence[int]
    seeds: int
    rates: Sequence[float]
    tune_at: int

    def __post_init__(self) -> None:
        require(len(self.sizes) > 0 and min(self.sizes) > 1, "sizes", list(self.sizes), "numbers of 2 or more")
        require(self.seeds >= 2, "seeds", self.seeds, "2 or more, because intervals need several")
        for name in ("val", "data", "out"):
            require(bool(getattr(self.settings, name)), name, "", "given with --study")
        require(bool(self.test), "test", "", "given with --study: the examples that the scores are of")

    @property
    def score(self) -> str:
        return MAIN_SCORE.get(self.settings.task or "", "accuracy")


def run_study(study: LabelStudy, train: Trainer, judge: Judge, say: Callable[[str], None]) -> dict[str, Any]:
    """Take all trials that are not done yet, and write the result; return it.

    Args:
        train: fine-tunes.
        judge: measures a run on a file.
        say: is called with a line for each trial.

    Raises:
        UserError: a file cannot be used, a size is larger than the training examples, or the folder
            holds another study.
    """
    work = _Work(study, train, judge, say)
    work.begin()
    rates = {side: work.best_rate(side) for side in SIDES}
    scores: dict[str, dict[int, list[float]]] = {side: {} for side in SIDES}
    for size in work.sizes:
        for side in SIDES:
            seeds = range(study.seeds)
            scores[side][size] = [work.trial(side, size, seed, rates[side], study.test) for seed in seeds]
    result = {
        "score": study.score,
        "task": study.settings.task,
        "rates": rates,
        "seeds": study.seeds,
        "sizes": [_of_size(size, *(scores[side][size] for side in SIDES)) for size in work.sizes],
        "asked": work.asked,
    }
    folder = Path(study.settings.out)
    write_json(folder / "result.json", result)
    write_text(folder / "study.html", study_page(result))
    return result


def _of_size(size: int, pretrained: Sequence[float], scratch: Sequence[float]) -> dict[str, Any]:
    """Return the means of both sides and of their paired difference, each with its interval."""
    pairs = [a - b for a, b in zip(pretrained, scratch, strict=True)]
    named = zip((*SIDES, "difference"), (pretrained, scratch, pairs), strict=True)
    return {"examples": size, **{name: _interval(values) for name, values in named}}


def _interval(values: Sequence[float]) -> dict[str, Any]:
    half = student_quantile(0.5 + CONFIDENCE / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    return {"mean": mean, "low": mean - half, "high": mean + half, "values": list(values)}


class _Work:
    """The trials of a study, and those that are done."""

    def __init__(self, study: LabelStudy, train: Trainer, judge: Judge, say: Callable[[str], None]) -> None:
        self.study, self.train, self.judge, self.say = study, train, judge, say
        self.folder = Path(study.settings.out)
        self.rows = read_rows(Path(study.settings.data), study.settings.task or "")
        self.sizes = sorted({min(size, len(self.rows)) for size in study.sizes})
        files = {name: file_sha256(Path(name)) for name in (study.settings.data, study.settings.val, study.test)}
        own = {"out", "data", "val", "learning_rate", "seed", "from_scratch", "resume", "device"}
        settings = {name: value for name, value in dataclasses.asdict(study.settings).items() if name not in own}
        numbers = {"tune_at": min(study.tune_at, len(self.rows)), "rates": list(study.rates)}
        self.asked: dict[str, Any] = {"settings": settings, "files": files, **numbers}
        self.done: dict[str, float] = {}

    def begin(self) -> None:
        """Read what is done.

        Raises:
            UserError: the folder holds another study.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "study.json"
        if path.is_file():
            if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(self.asked)):
                raise UserError(
                    f"{self.folder} holds a study with other settings, files or rates. Name another folder with --out."
                )
        else:
            write_json(path, self.asked)
        lines = self.folder / "trials.jsonl"
        for line in lines.read_text(encoding="utf-8").splitlines() if lines.is_file() else []:
            found = json.loads(line)
            self.done[found["trial"]] = found["score"]

    def best_rate(self, side: str) -> float:
        """Return the rate with the best mean score on the validation examples."""
        study, size = self.study, self.asked["tune_at"]
        # Their draws are not those of the comparison.
        seeds = (study.seeds + 1000, study.seeds + 1001)
        means = {
            rate: fmean(self.trial(side, size, seed, rate, study.settings.val) for seed in seeds)
            for rate in study.rates
        }
        return max(means, key=lambda rate: means[rate])

    def trial(self, side: str, size: int, seed: int, rate: float, judged_on: str) -> float:
        """Return the score of a trial; take it if it is not done yet."""
        name = f"{side}, {size} examples, seed {seed}, rate {rate:g}, on {judged_on}"
        if name in self.done:
            return self.done[name]
        run = self.folder / "trial"
        shutil.rmtree(run, ignore_errors=True)
        data = self.folder / "examples.jsonl"
        write_text(data, "".join(json.dumps(dict(row.values)) + "\n" for row in self.drawn(size, seed)))
        settings = dataclasses.replace(
            self.study.settings,
            data=str(data),
            val="",
            out=str(run),
            from_scratch=side == SIDES[1],
            learning_rate=rate,
            seed=seed_for(self.study.settings.seed, "study", seed) % 2**31,
        )
        self.train(settings)
        score = self.judge(str(run), judged_on).get(self.study.score)
        shutil.rmtree(run)  # only its score is wanted
        self.done[name] = 0.0 if score is None else float(score)
        lines = self.folder / "trials.jsonl"
        before = lines.read_text(encoding="utf-8") if lines.is_file() else ""
        write_text(lines, before + json.dumps({"trial": name, "score": self.done[name]}) + "\n", durable=True)
        self.say(f"{name}: {self.study.score} {self.done[name]:.4f}")
        return self.done[name]

    def drawn(self, size: int, seed: int) -> list[Row]:
        """Return the examples of a trial: both sides get the same, and a larger size holds those of
        a smaller one. Each class has one at least, if the size allows.
        """
        stream = np.random.default_rng(seed_for(self.study.settings.seed, "examples of a study", seed))
        order = [self.rows[number] for number in stream.permutation(len(self.rows))]
        label = self.study.settings.columns.get("label", "label")
        if self.study.settings.task not in ("classify", "pairs"):
            return order[:size]
        firsts = list({str(row.values.get(label)): row for row in reversed(order)}.values())
        chosen = {id(row) for row in firsts}
        return [*firsts, *(row for row in order if id(row) not in chosen)][:size]


def study_page(result: Mapping[str, Any]) -> str:
    """Return the page of a study."""
    sizes, score = result["sizes"], result["score"]
    x = np.array([float(one["examples"]) for one in sizes])
    lines = []
    for number, side in enumerate(SIDES):
        mean, low, high = (np.array([one[side][name] for one in sizes]) for name in ("mean", "low", "high"))
        lines.append(Line(side, (x, mean), number, (low, high), dots=True))
    note = f"Means over {result['seeds']} seeds, with the 95% interval of the mean as a band."
    chart = Chart(f"{score} by labelled examples", "labelled examples", score, lines, note, log_x=True)
    rows = [[f"{one['examples']:,}", *(shown(one[name]) for name in (*SIDES, "difference"))] for one in sizes]
    headings = ["examples", *SIDES, "difference (paired)"]
    last = sizes[-1]["difference"]
    clear = "more than chance" if last["low"] > 0 or last["high"] < 0 else "not told from chance"
    lead = f"With {sizes[-1]['examples']:,} examples pretraining changes {score} by {shown(last)}: {clear}."
    chosen = [[side, f"{result['rates'][side]:g}"] for side in SIDES]
    parts = [
        ("Scores", section("Scores", figure(chart, 64), table("Scores with 95% intervals", headings, rows))),
        ("Learning rates", section("Learning rates", table("Chosen on other seeds", ["side", "rate"], chosen))),
    ]
    foot = f"Written by {hints.command('finetune', '--study')}."
    return page("What pretraining buys", element("p", lead, class_="lead"), parts, foot)


def shown(found: Mapping[str, Any]) -> str:
    """Return a mean with its interval."""
    return f"{found['mean']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
