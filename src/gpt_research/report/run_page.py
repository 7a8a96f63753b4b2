"""The report of one run or of many: what came out, curves, evaluations, settings, texts, origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from gpt_research.base.settings import by_flag, to_dict
from gpt_research.estimate.time_estimate import in_words
from gpt_research.evaluation.comparison import better
from gpt_research.evaluation.report import number
from gpt_research.evaluation.run_groups import GroupScore, RunGroup, compare_groups, differing_settings, grouped
from gpt_research.evaluation.statistics import student_quantile
from gpt_research.report import sections
from gpt_research.report.charts import COLOURS, figures
from gpt_research.report.compressors import Measured
from gpt_research.report.curve_figures import (
    Curves,
    corpus_charts,
    curve_charts,
    final_value,
)
from gpt_research.report.html import Html, code, details, element, joined, listed, page, paragraph, section, table
from gpt_research.report.intervals import Row, interval_table
from gpt_research.report.known_runs import KnownRun, evaluate_command, evaluations, in_lines, settings_of, train_command
from gpt_research.report.scales import short
from gpt_research.report.series import Setting, pairs
from gpt_research.version import __version__

BITS = "val_bits_per_byte"
"""The entry of metrics.jsonl by which runs are judged."""
MOST_NAMED, MOST_TOLD = 3, 6
"""Runs that the title names, and settings that the sentences below it tell about."""


def run_page(
    known: Sequence[KnownRun], *, confidence: float, with_compressors: bool, notice: Callable[[str], None]
) -> str:
    """Return the page of runs. Those that differ in nothing but the seed are one setting, and the
    first setting is the one that the others are compared with.
    """
    groups = grouped([one.run for one in known])
    settings = settings_of(groups, known)
    curves = Curves.of(settings, confidence)
    by_run = {id(one.run): one for one in known}
    labelled = [(group.letter if len(groups) > 1 else "", by_run[id(run)]) for group in groups for run in group.runs]
    sets = {one.config.data: one.run.data for one in known if one.config is not None}
    measured = None
    if with_compressors and len(sets) == 1:
        measured = sections.measured_compressors(*next(iter(sets.items())), notice)
    scores, remarks = compare_groups(groups, confidence) if any(one.run.results for one in known) else ({}, [])
    remarks = list(dict.fromkeys([*(remark for one in known for remark in one.remarks), *remarks]))
    names = [one.run.name for one in known]
    values = {
        setting.label if len(settings) > 1 else "the model": _bits_per_byte(setting, group)
        for setting, group in zip(settings, groups, strict=True)
    }
    bits = sections.bits_per_byte(values, measured)
    more = f" and {len(names) - MOST_NAMED} more" * (len(names) > MOST_NAMED)
    return page(
        f"Report: {', '.join(names[:MOST_NAMED])}{more}",
        _lead(settings, values, measured),
        [
            ("Results", section("Results", _overview(labelled), bits, _ends(settings, confidence))),
            ("Curves", section("Curves", figures(curve_charts(curves), curves.most_points))),
            ("Corpora", section("Corpora", figures(corpus_charts(curves), curves.most_points), _corpora(settings))),
            ("Evaluations", section("Evaluations", _comparison(scores, settings), _scores(labelled), listed(remarks))),
            ("Settings", section("Settings", _settings(groups, settings, labelled))),
            ("Samples", section("Samples", sections.samples(_firsts(labelled)))),
            ("Data", section("Data", sections.data(sets))),
            ("Origin", section("Origin", sections.origin(labelled))),
            ("Commands", section("Commands", _commands(labelled, names))),
        ],
        f"Made by gpt-research {__version__}. The page needs no network and holds all that it shows.",
    )  # fmt: skip


def _firsts(labelled: Sequence[tuple[str, KnownRun]]) -> list[tuple[str, KnownRun]]:
    """Return the first run of each setting."""
    if not any(label for label, _ in labelled):
        return list(labelled[:1])
    return list({label: (label, one) for label, one in reversed(labelled)}.values())[::-1]


def _bits_per_byte(setting: Setting, group: RunGroup) -> list[float]:
    """Return the last bits per byte of each run; if none was validated, those of `evaluate`."""
    found = _values(setting, BITS)
    evaluated = [run.evaluation.get("overall", {}).get("bits_per_byte") for run in group.runs if not run.lines]
    return found or [value for value in evaluated if value is not None]


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
        last = {name: one.run.last(name) for name in ("tokens", "elapsed_s", "peak_memory_gb")}
        seconds, memory = last["elapsed_s"], last["peak_memory_gb"]
        speed = last["tokens"] / seconds if last["tokens"] and seconds else None
        rows.append([
            one.run.name, *([label] if label else []), "–" if one.run.seed is None else one.run.seed, one.state,
            f"{one.run.step:,}", short(last["tokens"]), short(final_value(one.lines, "val_loss")),
            short(final_value(one.lines, BITS)), in_words(seconds) if seconds else "–", short(speed, 3),
            f"{memory:.2f} GB" if memory else "–", element("span", one.written, class_="whole"),
        ])  # fmt: skip
    has_label = any(label for label, _ in labelled)
    headings = ["run", *(["setting"] if has_label else []), "seed", "state", "step", "tokens", "validation loss",
                "bits per byte", "time", "tokens a second", "memory", "last written"]  # fmt: skip
    texts = tuple(n for n, h in enumerate(headings) if h in ("run", "setting", "state", "last written"))
    return table("Runs", headings, rows, texts=texts)


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
        title, ["setting", f"difference to {base.letter}", "mean", f"{confidence:.4g} interval", "pairs"], rows
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


def _comparison(scores: Mapping[tuple[str, str], Sequence[GroupScore]], settings: Sequence[Setting]) -> Html:
    """Return the scores of several settings, and their differences to the first."""
    colours, parts = {setting.letter: number for number, setting in enumerate(settings)}, []
    for (task, name), of_score in scores.items():
        if len(of_score) < 2:
            continue
        rows = []
        for score in of_score:
            change = score.difference
            low, high = (change.low, change.high) if change and change.has_interval else (None, None)
            interval = "–" if low is None or high is None else f"{number(low, '+')} to {number(high, '+')}"
            value = change.value if change else 0.0
            difference = number(value, "+") if change else "–"
            cells = [_spread(score.values), difference, interval, _verdict(task, name, score)]
            rows.append(Row(score.group.letter, value, low, high, cells=cells, colour=colours[score.group.letter]))
        base = of_score[0].base.letter
        headings = ["setting", f"difference to {base}", "score", "difference", "interval", "verdict"]
        parts.append(interval_table(f"{task}: {name}", headings, rows, texts=(3,)))
    return joined(parts)


def _verdict(task: str, name: str, score: GroupScore) -> Html | str:
    if score.difference is None:
        return ""
    which = better(task, name, score.difference)
    if not which:
        return "not decided"
    return element("span", "better" if which == "B" else "worse", class_="good" if which == "B" else "bad")


def _scores(labelled: Sequence[tuple[str, KnownRun]]) -> Html:
    """Return the scores of every result file, in full."""
    rows: list[list[Any]] = []
    for label, known in labelled:
        for file, summary in evaluations(known):
            who = " ".join(part for part in (label, known.run.name, file and f"({file})") if part)
            for task, of_task in summary["tasks"].items():
                for name, score in of_task.get("scores", {}).items():
                    error = score.get("standard_error")
                    shown = "–" if score.get("value") is None else number(score["value"])
                    rows.append([who, f"{summary.get('step', 0):,}", task, name, shown,
                                 "–" if error is None else number(error), of_task.get("context", "–")])  # fmt: skip
    if not rows:
        return paragraph("No run was evaluated yet; the validation losses above come from training.")
    headings = ["run", "step", "task", "score", "value", "± standard error", "context"]
    return table("Scores", headings, rows, texts=(0, 2, 3))


def _settings(
    groups: Sequence[RunGroup], settings: Sequence[Setting], labelled: Sequence[tuple[str, KnownRun]]
) -> Html:
    parts = []
    differing = differing_settings(groups)
    if differing:
        columns = tuple(range(len(groups) + 1))
        rows = [[name, *(str(value) for value in values)] for name, values in differing.items()]
        parts.append(table("Settings that differ", ["setting", *(g.letter for g in groups)], rows, texts=columns))
        parts.append(
            listed([f"{setting.letter}: {group.title}" for setting, group in zip(settings, groups, strict=True)])
        )
    elif len(groups) > 1:
        parts.append(paragraph("The settings that decide the result do not differ, as far as they are known."))
    for label, known in _firsts(labelled):
        if known.config is not None:
            rows = [[name, str(value)] for name, value in by_flag(to_dict(known.config)).items()]
            whole = table(f"Settings of {known.run.name}", ["setting", "value"], rows, texts=(0, 1))
            parts.append(details(f"All settings of {label or known.run.name}", whole))
    return joined(parts)


def _commands(labelled: Sequence[tuple[str, KnownRun]], names: Sequence[str]) -> Html:
    parts = [
        paragraph(
            "The data card has the command that makes the data set. With its folder in place, these repeat the rest."
        )
    ]
    for _, known in labelled:
        commands = [train_command(known.config)] if known.config is not None else []
        commands += [evaluate_command(known.run.name, summary) for _, summary in evaluations(known)]
        if commands:
            parts.append(
                details(known.run.name, code("\n".join(commands), f"Commands of {known.run.name}"), printed=True)
            )
    parts.append(code(in_lines(["gpt-research", "report", *names]), "The command that made this page"))
    return joined(parts)
