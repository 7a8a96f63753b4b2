"""The reports of a sweep and of an lr-range test: how the loss answers to settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from gpt_research.report.charts import COLOURS, Chart, Line, figure, figures
from gpt_research.report.curve_figures import MOST_POINTS, Curves, curve_charts
from gpt_research.report.experiment import Experiment
from gpt_research.report.html import Html, element, joined, paragraph, section, table
from gpt_research.report.numbers import number_of
from gpt_research.report.scales import short

MOST_CURVES = 16
"""Points of a sweep whose training curves are drawn."""
WIDE = 8.0
"""An axis whose largest number is this many times its least is logarithmic."""


def response_sections(experiment: Experiment) -> tuple[Html, list[tuple[str, Html]]]:
    """Return the sentences at the top and the sections of a sweep or an lr-range test."""
    return _lr_range(experiment) if experiment.kind == "lr-range" else _sweep(experiment)


def _lr_range(experiment: Experiment) -> tuple[Html, list[tuple[str, Html]]]:
    result = experiment.result
    rates, losses, smooth = (
        np.array([math.nan if (value := number_of(one, name)) is None else value for one in result["curve"]])
        for name in ("learning_rate", "loss", "smoothed")
    )
    order = np.argsort(rates)
    is_smooth = bool(np.isfinite(smooth).any())
    lines = [Line("loss", (rates[order], losses[order]), faint=is_smooth)]
    if is_smooth:
        losses = smooth
        lines.append(Line("loss, smoothed", (rates[order], losses[order])))
    suggested = number_of(result, "suggestion")
    said = " ".join(["No learning rate can be suggested from this test.", str(result.get("why") or "")]).strip()
    if suggested is not None:
        said = f"Suggested learning rate: {suggested:g}."
        kept = np.isfinite(rates[order]) & np.isfinite(losses[order])
        if kept.any():
            there = float(np.interp(suggested, rates[order][kept], losses[order][kept]))
            lines.append(Line("suggestion", (np.array([suggested]), np.array([there])), 1, dots=True))
    note = "One run whose rate rises all the time. It tells where training breaks, not which rate is best at the end."
    chart = Chart("Loss by learning rate", "learning rate", "loss (nats a token)", lines, note, log_x=True)
    return element("p", said, class_="lead"), [("Curve", section("Curve", figure(chart, MOST_POINTS)))]


def _sweep(experiment: Experiment) -> tuple[Html, list[tuple[str, Html]]]:
    result = experiment.result
    points, over = result["points"], list(result["over"])
    optimum, best = result.get("optimum") or {}, result.get("best") or {}
    said = []
    if isinstance(best.get("settings"), Mapping):
        bits = number_of(best, "bits_per_byte")
        said.append(f"Best point: {_name(best['settings'])}" + (f", {bits:.4f} bits per byte." if bits else "."))
    found = [_optimum(name, optimum[name]) for name in over if isinstance(optimum.get(name), Mapping)]
    if found:
        said.append(f"Optimum between the points: {', '.join(found)}.")
    else:
        said.append("The points do not enclose an optimum, so it has no interval.")
    settings = [experiment.setting(_name(one["settings"]), one["runs"]) for one in points[:MOST_CURVES]]
    curves = Curves.of(settings, 0.95)
    more = (
        paragraph(f"The curves of the first {MOST_CURVES} points of {len(points)}.")
        if len(points) > MOST_CURVES
        else ""
    )
    return element("p", " ".join(said), class_="lead"), [
        ("Response", section("Response", *[_response(points, name, over) for name in over], _points(points, over))),
        ("Curves", section("Curves", more, figures(curve_charts(curves), curves.most_points))),
    ]


def _optimum(name: str, found: Mapping[str, Any]) -> str:
    value, low, high = (number_of(found, key) for key in ("value", "low", "high"))
    if value is None:
        return f"{name} unknown"
    return f"{name} {value:.3g}" + (f" ({low:.3g} to {high:.3g})" if low is not None and high is not None else "")


def _name(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _bits(point: Mapping[str, Any]) -> list[float]:
    return [value for run in point["runs"] if (value := number_of(run, "bits_per_byte")) is not None]


def _response(points: Sequence[Mapping[str, Any]], name: str, over: Sequence[str]) -> Html:
    """Return the bits per byte by one setting, with a line for each choice of the others."""
    lines: dict[str, dict[float, list[float]]] = {}
    for point in points:
        place = number_of(point["settings"], name)
        if place is None:
            return Html("")  # the values are words: the table has them
        rest = _name({other: point["settings"].get(other) for other in over if other != name})
        lines.setdefault(rest or "bits per byte", {}).setdefault(place, []).extend(_bits(point))
    drawn = []
    for number, (label, found) in enumerate(lines.items()):
        places = sorted(place for place, values in found.items() if values)
        if places:
            means, low, high = (np.array([f(found[p]) for p in places]) for f in (fmean, min, max))
            drawn.append(
                Line(label, (np.array(places), means), number % COLOURS, (low, high), dots=True, dash=number // COLOURS)
            )
    every = [place for found in lines.values() for place in found]
    log = bool(every) and min(every) > 0 and max(every) / min(every) > WIDE
    chart = Chart(
        f"Bits per byte by {name}",
        name,
        "bits per byte",
        drawn,
        "Means over seeds, in a band from the least to the largest.",
        log_x=log,
    )
    return figure(chart, MOST_POINTS)


def _points(points: Sequence[Mapping[str, Any]], over: Sequence[str]) -> Html:
    rows = []
    for point in points:
        values = _bits(point)
        states = ", ".join(dict.fromkeys(str(run.get("state", "")) for run in point["runs"]))
        cells = [str(point["settings"].get(name, "–")) for name in over]
        rows.append([*cells, short(fmean(values)) if values else "–", len(point["runs"]), states])
    return joined([table("Points", [*over, "bits per byte", "runs", "state"], rows, texts=(len(over) + 2,))])
