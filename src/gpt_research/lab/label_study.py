"""What did pretraining buy? Accuracy against the number of labelled examples, with and without it.

Both sides have the same shape, the same examples and their own learning rate. The rate is chosen by
the same procedure: three rates around that of the settings are tried at `tune_at` examples on two
seeds of their own, and further ones until the best has a worse one on each side (seven at most),
judged by the score on the validation examples, and by their loss where scores are equal, as they
are if a model always says the same. The rate is used at all sizes. Then each size is trained with
the same seeds on both sides, a seed being one draw of the examples and of everything else. Each
result is on the test examples. A study that was stopped goes on where it stopped.

    STUDY/study.json     what is compared
    STUDY/trials.jsonl   one line for each trial that is done
    STUDY/trials/        those that are under way
    STUDY/overlap.json   which test examples stand in the pretraining data
    STUDY/result.json    the scores and the differences, of the sizes that are done
    STUDY/study.html     one plot with bands, and the tables
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np

from gpt_research.base import hints, plugins
from gpt_research.base.errors import UserError, require
from gpt_research.base.files import write_json, write_text
from gpt_research.base.seeds import seed_for
from gpt_research.evaluation.statistics import student_quantile
from gpt_research.finetuning.examples import sha256_of_examples
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.finetuning.tables import Row, read_rows
from gpt_research.lab.tuning import Bracket
from gpt_research.report.charts import Chart, Line, figure
from gpt_research.report.html import Html, element, page, section, table

SIDES = ("pretrained", "from scratch")
CONFIDENCE = 0.95
MAIN_SCORE = {"similarity": "spearman", "complete": "exact", "chat": "exact"}
"""The score of a study by task; accuracy for the others."""
LOSSES = {"similarity": "mean_squared_error"}
"""The loss that tells equal scores apart, by task; `loss` for the others."""
TIE = 1e-6
"""The most that the loss counts beside the score: less than one example in a million."""
SAVES_EVERY = 100
"""Steps between two checkpoints of a trial. They are removed when the trial is done."""
TUNING_SEEDS = 2
TUNING_SEEDS_FROM = 1000
"""The first seed of tuning. So more seeds of the comparison leave the rates as they are."""


@dataclass(frozen=True)
class LabelStudy:
    """What a study compares."""

    settings: FinetuneSettings
    """Of the fine-tunings; `data` is drawn from, `val` chooses the rates, `out` is the study. The
    search for rates begins with `learning_rate`."""
    test: str
    sizes: Sequence[int]
    seeds: int
    tune_at: int

    def __post_init__(self) -> None:
        require(len(self.sizes) > 0 and min(self.sizes) > 1, "sizes", list(self.sizes), "numbers of 2 or more")
        rule = f"2 to {TUNING_SEEDS_FROM}, because intervals need several"
        require(2 <= self.seeds <= TUNING_SEEDS_FROM, "seeds", self.seeds, rule)
        require(self.tune_at >= 2, "tune_at", self.tune_at, "2 or more")
        for name in ("val", "data", "out"):
            require(bool(getattr(self.settings, name)), name, "", "given with --study")
        # A side from scratch has no weights to adapt, and no blocks to keep.
        rule = "left out with --study, because it compares with a model that begins with no weights"
        require(not self.settings.lora, "lora", self.settings.lora, rule)
        require(self.settings.layers is None, "layers", self.settings.layers, rule)
        require(bool(self.test), "test", "", "given with --study: the examples that the scores are of")

    @property
    def score(self) -> str:
        return MAIN_SCORE.get(self.settings.task or "", "accuracy")

    @property
    def loss(self) -> str:
        return LOSSES.get(self.settings.task or "", "loss")


@dataclass(frozen=True)
class Trial:
    """One fine-tuning of a study."""

    side: str
    size: int
    seed: int
    rate: float
    judged_on: Literal["validation", "test"]

    @property
    def name(self) -> str:
        return f"{self.side}, {self.size} examples, seed {self.seed}, rate {self.rate:.3g}, on {self.judged_on}"

    @property
    def folder(self) -> str:
        """Its name as that of a folder."""
        return f"{self.side.replace(' ', '-')}-{self.size}-seed-{self.seed}-rate-{self.rate:.3g}"


@dataclass(frozen=True)
class TrialJob:
    """The order for a process to take one trial."""

    name: str
    settings: FinetuneSettings
    judged_on: str
    """File of examples."""
    score: str
    loss: str
    plugins: tuple[str, ...] = ()
    """Files of plugins that the model needs."""


@dataclass(frozen=True)
class TrialScore:
    """What came of a trial."""

    score: float
    """0 if it is not defined, or if training diverged."""
    loss: float
    """Infinite if training diverged."""
    steps: int
    train_s: float
    judge_s: float


Run = Callable[[Iterable[TrialJob]], Iterable[tuple[TrialJob, TrialScore]]]
"""Takes trials, side by side or one after another; yields each with its score as it ends."""


def run_study(
    study: LabelStudy,
    run: Run,
    start: float,
    say: Callable[[str], None],
    overlap: Callable[[], Mapping[str, Any]],
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Take all trials that are not done yet, and write the result; return it.

    Args:
        run: takes trials.
        start: the learning rate around which the best ones are looked for.
        say: is called with a line for each trial.
        overlap: says which test examples stand in the pretraining data; called until the data
            could be read.
        remarks: what a reader should know of the examples, such as how many were cut.

    Raises:
        UserError: a file cannot be used, a size is smaller than the number of classes, or the
            folder holds another study.
    """
    work = _Work(study, run, say)
    work.begin({"start": start, "rates_by": [study.score, study.loss]})
    for remark in remarks:
        say(remark)
    found = work.kept("overlap.json", overlap)
    if not found.get("data", True):  # the data set was not there, and may be now
        found = work.keep("overlap.json", overlap())
    say(found["in_words"])
    brackets = work.best_rates(start)
    result: dict[str, Any] = {
        "score": study.score,
        "task": study.settings.task,
        "rates": {side: bracket.best for side, bracket in brackets.items()},
        "tuning": {
            side: {"scores": {f"{rate:.3g}": work.tuned[side, rate] for rate in sorted(bracket.scores)},
                   "best_is_inside": bracket.is_bracketed}
            for side, bracket in brackets.items()
        },
        "remarks": list(remarks),
        "seeds": study.seeds,
        "sizes": [],
        "overlap": found,
        "asked": work.asked,
    }  # fmt: skip
    folder = Path(study.settings.out)
    for size in work.sizes:
        trials = [
            Trial(side, size, seed, result["rates"][side], "test") for seed in range(study.seeds) for side in SIDES
        ]
        scores = work.scores(trials)
        of_sides = ([scores[trial].score for trial in trials if trial.side == side] for side in SIDES)
        result["sizes"].append(_of_size(size, *of_sides))
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

    def __init__(self, study: LabelStudy, run: Run, say: Callable[[str], None]) -> None:
        self.study, self.run, self.say = study, run, say
        self.folder = Path(study.settings.out)
        self.rows = read_rows(Path(study.settings.data), study.settings.task or "")
        self.sizes = sorted({min(size, len(self.rows)) for size in study.sizes})
        self.tune_at = min(study.tune_at, len(self.rows))
        files = {name: sha256_of_examples(Path(name)) for name in (study.settings.data, study.settings.val, study.test)}
        own = {"out", "data", "val", "learning_rate", "from_scratch", "resume", "device"}
        settings = {name: value for name, value in dataclasses.asdict(study.settings).items() if name not in own}
        self.asked: dict[str, Any] = {"settings": settings, "files": files, "tune_at": self.tune_at}
        self.lines: list[str] = []
        """Of trials.jsonl."""
        self.done: dict[str, TrialScore] = {}
        self.tuned: dict[tuple[str, float], float] = {}
        """The mean score of each learning rate that was tried, on the validation examples."""

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Read what is done.

        Args:
            facts: what else makes the study what it is.

        Raises:
            UserError: the folder holds another study, or a draw cannot have all classes.
        """
        self.asked |= facts
        classes = len(self._firsts(self.rows))
        if (smallest := min(*self.sizes, self.tune_at)) < classes:
            raise UserError(
                f"{self.study.settings.data} has {classes} classes, and {smallest} examples cannot have one of each. "
                "Raise --sizes and --tune_at."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self.kept("study.json", lambda: self.asked)
        if before != json.loads(json.dumps(self.asked)):
            raise UserError(
                f"{self.folder} holds a study with other settings or files. Name another folder with --out."
            )
        lines = self.folder / "trials.jsonl"
        if lines.is_file():
            self.lines = lines.read_text(encoding="utf-8").splitlines(keepends=True)
        self.done = {found.pop("trial"): TrialScore(**found) for found in map(json.loads, self.lines)}

    def kept(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return what a file of the study holds; make it if it is not there."""
        path = self.folder / name
        if not path.is_file():
            return self.keep(name, make())
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def keep(self, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """Write a file of the study, and return what it holds."""
        write_json(self.folder / name, dict(found))
        return dict(found)

    def best_rates(self, start: float) -> dict[str, Bracket]:
        """Look for the rate of each side with the best mean score on the validation examples."""
        # Their draws are not those of the comparison.
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + TUNING_SEEDS)
        brackets = {side: Bracket(start) for side in SIDES}
        while wanted := [(side, rate) for side in SIDES for rate in brackets[side].wanted()]:
            trials = {
                (side, rate): [Trial(side, self.tune_at, seed, rate, "validation") for seed in seeds]
                for side, rate in wanted
            }
            scores = self.scores([trial for own in trials.values() for trial in own])
            for (side, rate), own in trials.items():
                found = [scores[trial] for trial in own]
                self.tuned[side, rate] = fmean(one.score for one in found)
                tie = TIE * (1 - 1 / (1 + fmean(one.loss for one in found)))
                brackets[side].scores[rate] = tie - self.tuned[side, rate]
        for side, bracket in brackets.items():
            edge = "" if bracket.is_bracketed else ", the end of what was tried"
            self.say(f"{side}: learning rate {bracket.best:.3g}{edge}")
        return brackets

    def scores(self, trials: Sequence[Trial]) -> dict[Trial, TrialScore]:
        """Return what came of each trial; take those that are not done yet."""
        jobs = (self._job(trial) for trial in trials if trial.name not in self.done)
        for job, found in self.run(jobs):
            self.done[job.name] = found
            self.lines.append(json.dumps({"trial": job.name, **dataclasses.asdict(found)}) + "\n")
            write_text(self.folder / "trials.jsonl", "".join(self.lines), durable=True)
            shutil.rmtree(Path(job.settings.data).parent, ignore_errors=True)
            seconds = f"{found.steps:,} steps in {found.train_s:.0f} s, measured in {found.judge_s:.0f} s"
            self.say(f"{job.name}: {job.score} {found.score:.4f}, loss {found.loss:.4f} ({seconds})")
        return {trial: self.done[trial.name] for trial in trials}

    def _job(self, trial: Trial) -> TrialJob:
        """Write the examples of a trial; return the order to take it."""
        folder = self.folder / "trials" / trial.folder
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "examples.jsonl"
        write_text(data, "".join(json.dumps(dict(row.values)) + "\n" for row in self.drawn(trial.size, trial.seed)))
        settings = dataclasses.replace(
            self.study.settings,
            data=str(data),
            val="",
            out=str(folder / "run"),
            from_scratch=trial.side == SIDES[1],
            learning_rate=trial.rate,
            early_stopping=0,
            save_interval=self.study.settings.save_interval or SAVES_EVERY,
            seed=seed_for(self.study.settings.seed, "study", trial.seed) % 2**31,
        )
        files = tuple(str(path) for path in plugins.LOADED.values())
        judged_on = self.study.test if trial.judged_on == "test" else self.study.settings.val
        return TrialJob(trial.name, settings, judged_on, self.study.score, self.study.loss, files)

    def drawn(self, size: int, seed: int) -> list[Row]:
        """Return the examples of a trial: both sides get the same, and a larger size holds those of
        a smaller one. Each class has one at least, if the size allows.
        """
        stream = np.random.default_rng(seed_for(self.study.settings.seed, "examples of a study", seed))
        order = [self.rows[number] for number in stream.permutation(len(self.rows))]
        firsts = self._firsts(order)
        chosen = {id(row) for row in firsts}
        return [*firsts, *(row for row in order if id(row) not in chosen)][:size]

    def _firsts(self, rows: Sequence[Row]) -> list[Row]:
        """Return the first row of each class; none of a task without classes."""
        if self.study.settings.task not in ("classify", "pairs"):
            return []
        label = self.study.settings.columns.get("label", "label")
        return list({str(row.values.get(label)): row for row in reversed(rows)}.values())


def study_chart(result: Mapping[str, Any], title: str = "") -> Html:
    """Return the plot of a study: a line and its band for each side."""
    sizes, score = result["sizes"], result["score"]
    x = np.array([float(one["examples"]) for one in sizes])
    lines = []
    for number, side in enumerate(SIDES):
        mean, low, high = (np.array([one[side][name] for one in sizes]) for name in ("mean", "low", "high"))
        lines.append(Line(side, (x, mean), number, (low, high), dots=True))
    note = (
        f"Means over {result['seeds']} seeds, with the 95% interval of the mean as a band: for these test texts, and "
        "other draws of training examples."
    )
    title = title or f"{score} by labelled examples"
    return figure(Chart(title, "labelled examples", score, lines, note, log_x=True), 64)


def study_page(result: Mapping[str, Any]) -> str:
    """Return the page of a study."""
    sizes, score = result["sizes"], result["score"]
    rows = [[f"{one['examples']:,}", *(shown(one[name]) for name in (*SIDES, "difference"))] for one in sizes]
    headings = ["examples", *SIDES, "difference (paired)"]
    last = sizes[-1]["difference"]
    clear = "more than seeds differ" if last["low"] > 0 or last["high"] < 0 else "no more than seeds may differ"
    lead = f"With {sizes[-1]['examples']:,} examples pretraining changes {score} by {shown(last)}: {clear}."
    parts = [
        ("Scores", section("Scores", study_chart(result), table("Scores with 95% intervals", headings, rows))),
        ("Learning rates", section("Learning rates", _rates(result))),
        ("Test texts", section("Test texts in the pretraining data", element("p", result["overlap"]["in_words"]))),
    ]
    if result["remarks"]:
        parts.append(("Examples", section("Examples", *(element("p", remark) for remark in result["remarks"]))))
    foot = f"Written by {hints.command('finetune', '--study')}."
    return page("What pretraining buys", element("p", lead, class_="lead"), parts, foot)


def _rates(result: Mapping[str, Any]) -> Html:
    """Return the table of the learning rates that were tried."""
    rows = []
    for side in SIDES:
        tuned = result["tuning"][side]
        tried = ", ".join(f"{rate}: {score:.4f}" for rate, score in tuned["scores"].items())
        rate = f"{result['rates'][side]:.3g}" + ("" if tuned["best_is_inside"] else " (at the end of what was tried)")
        rows.append([side, rate, tried])
    named = f"{result['score']} of each rate that was tried"
    return table("Chosen on other seeds, by the validation examples", ["side", "rate", named], rows)


def shown(found: Mapping[str, Any]) -> str:
    """Return a mean with its interval."""
    return f"{found['mean']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
