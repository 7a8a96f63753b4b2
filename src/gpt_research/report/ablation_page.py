"""The report of an ablation: verdicts, pairs, ratios of tokens and time, curves, tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from gpt_research.estimate.time_estimate import in_words
from gpt_research.report import sections
from gpt_research.report.charts import COLOURS, Chart, Line, figure, figures
from gpt_research.report.compressors import measured_for
from gpt_research.report.curve_figures import MOST_POINTS, Curves, corpus_charts, curve_charts
from gpt_research.report.experiment import Experiment
from gpt_research.report.html import Html, details, element, joined, section, table
from gpt_research.report.measured import Measured
from gpt_research.report.numbers import number_of
from gpt_research.report.scales import short
from gpt_research.report.verdicts import Arm, pair_tables, ratios, verdicts


def ablation_sections(
    experiment: Experiment, *, with_compressors: bool, notice: Callable[[str], None]
) -> tuple[Html, list[tuple[str, Html]]]:
    """Return the sentences at the top and the sections of an ablation."""
    result, arms = experiment.result, experiment.result["arms"]
    confidence = number_of(result, "confidence") or 0.95
    longest = max((run.get("horizon", 1.0) for arm in arms for run in arm["runs"]), default=1.0)
    at_end = {arm["name"]: [run for run in arm["runs"] if run.get("horizon", 1.0) == longest] for arm in arms}
    settings = [experiment.setting(name, runs) for name, runs in at_end.items()]
    curves = Curves.of(settings, confidence)
    measured = None
    for folder, fingerprint in experiment.data_set.items() if with_compressors else ():
        measured = measured_for(folder, fingerprint, notice)
    firsts = [
        (name, known) for name, runs in at_end.items() for known in [_first(experiment, runs)] if known is not None
    ]
    lead = joined(
        [element("p", text, class_="lead") for text in result.get("sentences") or ["Nothing was compared yet."]]
    )
    return lead, [
        ("Verdicts", section("Verdicts", verdicts(result, confidence), ratios(result, confidence))),
        ("Pairs", section("Pairs", pair_tables(arms))),
        ("Arms", section("Arms", _arms(arms, longest), _bits(at_end, measured))),
        ("Curves", section("Curves", figures(curve_charts(curves), curves.most_points))),
        ("Horizons", section("Horizons", _horizons(arms))),
        ("Tuning", section("Tuning", _tuning(arms))),
        ("Corpora", section("Corpora", _corpora(at_end), figures(corpus_charts(curves), curves.most_points))),
        ("Settings", section("Settings", _settings(arms))),
        ("Runs", section("Runs", _runs(arms))),
        ("Samples", section("Samples", sections.samples(firsts))),
    ]


def _first(experiment: Experiment, runs: Sequence[Mapping[str, Any]]) -> Any:
    return next((known for run in runs if (known := experiment.known(run)) is not None), None)


def _arms(arms: Sequence[Arm], longest: float) -> Html:
    rows = []
    for arm in arms:
        runs = [run for run in arm["runs"] if run.get("horizon", 1.0) == longest]
        bits = _numbers(runs, "bits_per_byte")
        seconds, tokens = _numbers(runs, "seconds"), _numbers(runs, "tokens")
        changes = ", ".join(f"{name} {value}" for name, value in (arm.get("changes") or {}).items()) or "–"
        tuned = arm.get("tuned")
        states = [f"{count} {state}" for state in ("done", "diverged", "failed")
                  if (count := sum(run.get("state") == state for run in runs))]  # fmt: skip
        rows.append([
            arm["name"], changes, f"{tuned['setting']} {tuned['chosen']}" if tuned else "–",
            short(number_of(arm, "parameters"), 3), ", ".join(states) or "–", _spread(bits),
            short(fmean(tokens), 3) if tokens else "–", in_words(fmean(seconds)) if seconds else "–",
        ])  # fmt: skip
    headings = ["arm", "changes", "tuned", "parameters", "runs", "bits per byte", "tokens a run", "time a run"]
    return table("Arms", headings, rows, texts=(0, 1, 2, 4))


def _numbers(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [value for run in runs if (value := number_of(run, name)) is not None]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _bits(at_end: Mapping[str, Sequence[Mapping[str, Any]]], measured: Measured | None) -> Html:
    values = {name: _numbers(runs, "bits_per_byte") for name, runs in at_end.items()}
    return sections.bits_per_byte(values, measured)


def _horizons(arms: Sequence[Arm]) -> Html:
    """Return the final values by the tokens of a run, if there are several horizons."""
    lines = []
    for number, arm in enumerate(arms):
        by_tokens: dict[float, list[float]] = {}
        for run in arm["runs"]:
            tokens, bits = number_of(run, "tokens"), number_of(run, "bits_per_byte")
            if tokens is not None and bits is not None:
                by_tokens.setdefault(tokens, []).append(bits)
        places = sorted(by_tokens)
        if len(places) > 1:
            means, low, high = (np.array([f(by_tokens[p]) for p in places]) for f in (fmean, min, max))
            lines.append(
                Line(
                    arm["name"],
                    (np.array(places), means),
                    number % COLOURS,
                    (low, high),
                    dots=True,
                    dash=number // COLOURS,
                )
            )
    note = (
        "Each dot is the end of runs with a whole schedule of that length: the mean over seeds, in a band from the "
        "least to the largest."
    )
    return figure(
        Chart("Final loss by length of the run", "tokens", "bits per byte", lines, note, log_x=True), MOST_POINTS
    )


def _tuning(arms: Sequence[Arm]) -> Html:
    """Return what tuning tried, by setting."""
    by_setting: dict[str, list[tuple[int, Arm]]] = {}
    for number, arm in enumerate(arms):
        if arm.get("tuned"):
            by_setting.setdefault(arm["tuned"]["setting"], []).append((number, arm))
    parts = []
    for setting, of_setting in by_setting.items():
        lines, rows = [], []
        for number, arm in of_setting:
            tried = sorted(arm["tuned"]["tried"], key=lambda one: one["value"])
            places = np.array([float(one["value"]) for one in tried])
            values = np.array([np.nan if (v := number_of(one, "bits_per_byte")) is None else v for one in tried])
            lines.append(Line(arm["name"], (places, values), number % COLOURS, dots=True, dash=number // COLOURS))
            rows += [[arm["name"], f"{one['value']:g}", short(number_of(one, "bits_per_byte")),
                      "chosen" if one["value"] == arm["tuned"]["chosen"] else ""] for one in tried]  # fmt: skip
        log = all((line.series[0] > 0).all() for line in lines)
        note = "Tuned on seeds that the comparison does not use."
        parts.append(
            figure(Chart(f"Tuning of {setting}", setting, "bits per byte", lines, note, log_x=log), MOST_POINTS)
        )
        parts.append(
            details(
                f"What was tried for {setting}",
                table(f"Tried: {setting}", ["arm", setting, "bits per byte", "choice"], rows, texts=(0, 3)),
            )
        )
    return joined(parts)


def _corpora(at_end: Mapping[str, Sequence[Mapping[str, Any]]]) -> Html:
    names = sorted({name for runs in at_end.values() for run in runs for name in (run.get("corpora") or {})})
    if len(names) < 2:
        return Html("")
    rows = []
    for name in names:
        of_arms = [
            [v for run in runs if (v := number_of(run, "corpora", name, "bits_per_byte")) is not None]
            for runs in at_end.values()
        ]
        rows.append([name, *map(_spread, of_arms)])
    return table("Bits per byte of each corpus at the end", ["corpus", *at_end], rows)


def _settings(arms: Sequence[Arm]) -> Html:
    differing = {name: None for arm in arms for name, value in (arm.get("settings") or {}).items()
                 if any((other.get("settings") or {}).get(name) != value for other in arms)}  # fmt: skip
    columns = tuple(range(len(arms) + 1))
    parts = []
    if differing:
        rows = [[name, *(str((arm.get("settings") or {}).get(name, "–")) for arm in arms)] for name in differing]
        parts.append(table("Settings that differ", ["setting", *(arm["name"] for arm in arms)], rows, texts=columns))
    for arm in arms:
        rows = [[name, str(value)] for name, value in (arm.get("settings") or {}).items()]
        if rows:
            whole = table(f"Settings of {arm['name']}", ["setting", "value"], rows, texts=(0, 1))
            parts.append(details(f"All settings of {arm['name']}", whole))
    return joined(parts)


def _runs(arms: Sequence[Arm]) -> Html:
    rows = []
    for arm in arms:
        for run in arm["runs"]:
            why = f"{run.get('state', '')}{': ' if run.get('why') else ''}{run.get('why') or ''}"
            seconds = number_of(run, "seconds")
            rows.append([
                run.get("folder", ""), arm["name"], run.get("seed", "–"), f"{run.get('horizon', 1.0):g}", why,
                short(number_of(run, "steps")), short(number_of(run, "tokens")), in_words(seconds) if seconds else "–",
                short(number_of(run, "loss")), short(number_of(run, "bits_per_byte")),
                str(run.get("weights_sha256") or "–")[:12],
            ])  # fmt: skip
    headings = ["run", "arm", "seed", "horizon", "state", "steps", "tokens", "time", "loss", "bits per byte", "weights"]
    return table("Runs", headings, rows, texts=(0, 1, 4, 10))
