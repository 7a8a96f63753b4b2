"""The report of one run or of many: what came out, curves, evaluations, settings, texts, origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from gpt_research.base.settings import by_flag, to_dict
from gpt_research.estimate.time_estimate import in_words
from gpt_research.evaluation.statistics import number, student_quantile
from gpt_research.report import sections
from gpt_research.report.charts import COLOURS, figures
from gpt_research.report.compressors import measured_for
from gpt_research.report.curve_figures import (
    Curves,
    corpus_charts,
    curve_charts,
    final_value,
)
from gpt_research.report.html import (
    Html,
    code,
    details,
    element,
    joined,
    listed,
    page,
    paragraph,
    section,
    table,
    verdict,
)
from gpt_research.report.intervals import Row, interval_table
from gpt_research.report.known_run import KnownRun, evaluate_command, evaluations, in_lines, train_command
from gpt_research.report.measured import Measured
from gpt_research.report.scales import short
from gpt_research.report.series import Setting, pairs
from gpt_research.report.suite import suite

BITS = "val_bits_per_byte"
"""The entry of metrics.jsonl by which runs are judged."""
LONG = 20
"""Characters from which on a text is broken into lines."""
MOST_NAMED, MOST_TOLD = 3, 6
"""Runs that the title names, and settings that the sentences below it tell about."""


@dataclass(frozen=True)
class SettingScore:
    """A score of one setting, and its difference to that of the first setting."""

    letter: str
    values: Sequence[float]
    """The score of each run."""
    difference: float | None
    """None for the first setting."""
    low: float | None
    """The interval of the difference; None if there is none."""
    high: float | None
    verdict: str
    items: str = ""
    """The group of items that it is about, such as a phenomenon of BLiMP; empty for all."""


@dataclass(frozen=True)
class Runs:
    """What the page of runs shows."""

    known: Sequence[KnownRun]
    settings: Sequence[Setting]
    """Runs that differ in nothing but the seed are one setting; the others are compared with the
    first."""
    members: Sequence[Sequence[KnownRun]]
    """The runs of each setting."""
    differing: Mapping[str, Sequence[Any]]
    """The names of the settings that differ, with the value of each setting."""
    scores: Mapping[str, Sequence[SettingScore]]
    """The scores of evaluations by their names, if several settings have them."""
    remarks: Sequence[str]
    confidence: float

    @property
    def labelled(self) -> list[tuple[str, KnownRun]]:
        """Each run with the letter of its setting, which is empty if there is only one setting."""
        letters = [setting.letter if len(self.settings) > 1 else "" for setting in self.settings]
        return [(letter, run) for letter, runs in zip(letters, self.members, strict=True) for run in runs]


def run_page(runs: Runs, *, with_compressors: bool, notice: Callable[[str], None]) -> str:
    """Return the page of runs."""
    settings, labelled = runs.settings, runs.labelled
    curves = Curves.of(settings, runs.confidence)
    sets = {one.config.data: one.data for one in runs.known if one.config is not None}
    measured = None
    if with_compressors and len(sets) == 1:
        measured = measured_for(*next(iter(sets.items())), notice)
    names = [one.name for one in runs.known]
    values = {
        setting.label if len(settings) > 1 else "the model": _bits_per_byte(setting, members)
        for setting, members in zip(settings, runs.members, strict=True)
    }
    bits = sections.bits_per_byte(values, measured)
    more = f" and {len(names) - MOST_NAMED} more" * (len(names) > MOST_NAMED)
    return page(
        f"Report: {', '.join(names[:MOST_NAMED])}{more}",
        _lead(settings, values, measured),
        [
            ("Results", section("Results", _overview(labelled), bits, _ends(settings, runs.confidence))),
            ("Curves", section("Curves", figures(curve_charts(curves), curves.most_points))),
            ("Corpora", section("Corpora", figures(corpus_charts(curves), curves.most_points), _corpora(settings))),
            ("Benchmarks", section("Benchmarks", suite(labelled))),
            ("Evaluations", section("Evaluations", _comparison(runs), _scores(labelled), listed(runs.remarks))),
            ("Settings", section("Settings", _settings(runs))),
            ("Samples", section("Samples", sections.samples(_firsts(labelled)))),
            ("Data", section("Data", sections.data(sets))),
            ("Origin", section("Origin", sections.origin(labelled))),
            ("Commands", section("Commands", _commands(labelled, names))),
        ],
        sections.FOOT,
    )


def _firsts(labelled: Sequence[tuple[str, KnownRun]]) -> list[tuple[str, KnownRun]]:
    """Return the first run of each setting."""
    if not any(label for label, _ in labelled):
        return list(labelled[:1])
    return list({label: (label, one) for label, one in reversed(labelled)}.values())[::-1]


def _bits_per_byte(setting: Setting, members: Sequence[KnownRun]) -> list[float]:
    """Return the last bits per byte of each run; if none was validated, those of `evaluate`."""
    evaluated = [run.evaluation.get("overall", {}).get("bits_per_byte") for run in members if not run.metrics]
    return _values(setting, BITS) or [value for value in evaluated if value is not None]


def _lead(settings: Sequence[Setting], values: Mapping[str, Sequence[float]], measured: Measured | None) -> Html:
    """Return the sentences at the top: what came out."""
    said = []
    for setting, bits in list(zip(settings, values.values(), strict=True))[:MOST_TOLD]:
        runs, apart = setting.together
        of_setting = []
        if bits:
            spread = f" (standard deviation {stdev(bits):.4f} over {len(bits)} seeds)" if len(bits) > 1 else ""
            after = f" after {min(run.last_step for run in runs):,} steps" if runs else ""
            of_setting.append(f"{fmean(bits):.4f} bits per byte of validation text{after}{spread}.")
        of_setting += [f"{run.name} {run.ending} and is not counted." for run in apart]
        if of_setting:
            said.append((f"{setting.label}: " if len(settings) > 1 else "") + " ".join(of_setting))
    if not said:
        said.append("No run was validated yet.")
    if measured is not None and measured.rows:
        best = min(measured.rows, key=lambda row: row.given)
        said.append(f"The compressor {best.name} needs {best.given:.2f} for the same text, given the training text.")
    return joined(element("p", one, class_="lead") for one in said)


def _overview(labelled: Sequence[tuple[str, KnownRun]]) -> Html:
    rows = []
    for label, one in labelled:
        last = {name: one.last(name) for name in ("tokens", "elapsed_s", "peak_memory_gb")}
        seconds, memory = last["elapsed_s"], last["peak_memory_gb"]
        speed = last["tokens"] / seconds if last["tokens"] and seconds else None
        rows.append([
            one.name, *([label] if label else []), "–" if one.lines.seed is None else one.lines.seed, _state(one),
            f"{one.step:,}", short(last["tokens"]), short(final_value(one.lines, "val_loss")),
            short(final_value(one.lines, BITS)), in_words(seconds) if seconds else "–", short(speed, 3),
            f"{memory:.2f} GB" if memory else "–", element("span", one.written, class_="whole"),
        ])  # fmt: skip
    has_label = any(label for label, _ in labelled)
    headings = ["run", *(["setting"] if has_label else []), "seed", "state", "step", "tokens", "validation loss",
                "bits per byte", "time", "tokens a second", "memory", "last written"]  # fmt: skip
    texts = tuple(n for n, h in enumerate(headings) if h in ("run", "setting", "state", "last written"))
    return table("Runs", headings, rows, texts=texts)


def _state(known: KnownRun) -> object:
    """Return the state of a run for its table, where only a long one is broken into lines."""
    return element("span", known.state, class_="whole") if len(known.state) < LONG else known.state


def _values(setting: Setting, name: str) -> list[float]:
    return [value for run in setting.together[0] if (value := final_value(run, name)) is not None]


def _ends(settings: Sequence[Setting], confidence: float) -> Html:
    """Return the differences at the end of the runs, pair by pair."""
    if len(settings) < 2:
        return Html("")
    rows, single = [], []
    for number_, setting in enumerate(settings[1:], start=1):
        found = [
            (final_value(b, BITS), final_value(a, BITS), b.seed)
            for a, b in pairs(settings[0].together[0], setting.together[0])
        ]
        differences = [(b - a, seed) for b, a, seed in found if a is not None and b is not None]
        values = [d for d, _ in differences]
        if not values:
            continue
        low = high = None
        if len(values) > 1:
            half = student_quantile(0.5 + confidence / 2, len(values) - 1) * stdev(values) / len(values) ** 0.5
            low, high = fmean(values) - half, fmean(values) + half
        interval = f"{low:+.4f} to {high:+.4f}" if low is not None and high is not None else "none"
        rows.append(Row(f"{setting.label}", fmean(values), low, high, values,
                        [f"{fmean(values):+.4f}", interval, len(values)], number_ % COLOURS))  # fmt: skip
        single += [[f"{setting.letter}, seed {seed}", f"{d:+.4f}"] for d, seed in differences]
    if not rows:
        return Html("")
    base = settings[0]
    title = f"Bits per byte at the end: difference to {base.label}, paired by seed"
    drawn = interval_table(
        title, ["setting", f"difference to {base.letter}", "mean", f"{100 * confidence:g}% interval", "pairs"], rows
    )
    note = "Below 0 is better. Pale dots are single pairs. An interval holds for one comparison, planned beforehand."
    return joined(
        [
            drawn,
            element("p", note, class_="quiet"),
            details("Each pair", table("Difference of each pair", ["pair", "bits per byte"], single)),
        ]
    )


def _corpora(settings: Sequence[Setting]) -> Html:
    names = Curves(settings, "step", 0.95).corpora
    if not names:
        return Html("")
    rows = []
    for name in names:
        cells = []
        for setting in settings:
            values = _values(setting, f"corpora/{name}/bits_per_byte")
            cells.append(_spread(values))
        rows.append([name, *cells])
    headings = ["corpus", *(setting.label if len(settings) > 1 else "bits per byte" for setting in settings)]
    return table("Bits per byte of each corpus at the end", headings, rows)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return number(fmean(values)) + (f" ± {number(stdev(values))}" if len(values) > 1 else "")


def _comparison(runs: Runs) -> Html:
    """Return the scores of several settings, and their differences to the first."""
    colours, parts = {setting.letter: number for number, setting in enumerate(runs.settings)}, []
    for title, scores in runs.scores.items():
        rows = []
        for score in scores:
            is_open = score.low is None or score.high is None
            interval = "–" if is_open else f"{number(score.low or 0.0, '+')} to {number(score.high or 0.0, '+')}"
            difference = "–" if score.difference is None else number(score.difference, "+")
            cells = [_spread(score.values), difference, interval, verdict(score.verdict)]
            value = score.difference or 0.0
            label = f"{score.items}, {score.letter}" if score.items else score.letter
            rows.append(Row(label, value, score.low, score.high, cells=cells, colour=colours[score.letter]))
        headings = ["setting", f"difference to {scores[0].letter}", "score", "difference", "interval", "verdict"]
        parts.append(interval_table(title, headings, rows, texts=(3,)))
    return joined(parts)


def _scores(labelled: Sequence[tuple[str, KnownRun]]) -> Html:
    """Return the scores of every result file, in full."""
    rows: list[list[Any]] = []
    for label, known in labelled:
        for file, summary in evaluations(known):
            who = " ".join(part for part in (label, known.name, file and f"({file})") if part)
            for task, of_task in summary["tasks"].items():
                for name, score in of_task.get("scores", {}).items():
                    error = score.get("standard_error")
                    shown = "–" if score.get("value") is None else number(score["value"])
                    rows.append([who, f"{summary.get('step', 0):,}", task, name, shown,
                                 "–" if error is None else number(error), of_task.get("context", "–")])  # fmt: skip
    if not rows:
        return paragraph("No run was evaluated yet; the validation losses above come from training.")
    headings = ["run", "step", "task", "score", "value", "± standard error", "context"]
    return details("All scores", table("Scores", headings, rows, texts=(0, 2, 3)))


def _settings(runs: Runs) -> Html:
    parts = []
    if runs.differing:
        columns = tuple(range(len(runs.settings) + 1))
        rows = [[name, *(str(value) for value in values)] for name, values in runs.differing.items()]
        letters = [setting.letter for setting in runs.settings]
        parts.append(table("Settings that differ", ["setting", *letters], rows, texts=columns))
        named = [", ".join(f"{run.name} (seed {run.settings.get('seed')})" for run in of) for of in runs.members]
        parts.append(listed([f"{letter}: {names}" for letter, names in zip(letters, named, strict=True)]))
    elif len(runs.settings) > 1:
        parts.append(paragraph("The settings that decide the result do not differ, as far as they are known."))
    for label, known in _firsts(runs.labelled):
        if known.config is not None:
            rows = [[name, str(value)] for name, value in by_flag(to_dict(known.config)).items()]
            whole = table(f"Settings of {known.name}", ["setting", "value"], rows, texts=(0, 1))
            parts.append(details(f"All settings of {label or known.name}", whole))
    return joined(parts)


def _commands(labelled: Sequence[tuple[str, KnownRun]], names: Sequence[str]) -> Html:
    parts = [
        paragraph(
            "The data card has the command that makes the data set. With its folder in place, these repeat the rest."
        )
    ]
    for _, known in labelled:
        commands = [train_command(known.config, known.lineage)] if known.config is not None else []
        for _, summary in evaluations(known):
            commands.append(evaluate_command(str(known.folder or summary.get("run", known.name)), summary))
        if commands:
            parts.append(details(known.name, code("\n".join(commands), f"Commands of {known.name}"), printed=True))
    parts.append(code(in_lines(["gpt-research", "report", *names]), "The command that made this page"))
    return joined(parts)
