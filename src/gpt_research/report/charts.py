"""A chart as HTML: curves in SVG, ticks and legend in HTML, and the values as a table.

The picture is complete without a script. `page.js` adds what answers to mouse and keyboard: it
shows values, zooms, and hides curves. It takes the numbers from the paths themselves, so they are
in the file once. A path is written in whole numbers from 0 to `UNITS`; the SVG stretches to the
width of the page, and its strokes keep their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.report.html import Html, details, element, joined, table
from gpt_research.report.scales import UNITS, Scale, short, tick_label
from gpt_research.report.series import Band, Series, thinned

COLOURS = 8
"""Colours of the style sheet; further lines take them again, dashed."""
DASHES = ("", "dashed", "dotted")
ROWS = 12
"""Places that the table of a chart shows."""
X_TICKS, Y_TICKS = 7, 5


@dataclass(frozen=True)
class Line:
    """A line of a chart, and the band around it."""

    label: str
    series: Series
    colour: int = 0
    band: Series | None = None
    """Lower and upper end of the band at each place of the series."""
    faint: bool = False
    """Drawn thin and pale: what a smooth line was made from."""
    dots: bool = False
    """Each point is marked too."""
    dash: int = 0

    @classmethod
    def of(cls, label: str, found: Band, colour: int, *, dots: bool = False, banded: bool = True) -> Line:
        own = (found.low, found.high) if banded and np.isfinite(found.low).any() else None
        return cls(label, (found.x, found.mean), colour % COLOURS, own, dots=dots, dash=colour // COLOURS)


@dataclass(frozen=True)
class Chart:
    """What a figure shows."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    note: str = ""
    """What the reader must know: what a band is, what was smoothed."""
    log_x: bool = False
    log_y: bool = False
    zero: bool = False
    """The axis holds 0, and a line marks it."""


def figure(chart: Chart, most_points: int) -> Html:
    """Return a chart as a figure; an empty text if it has no finite value.

    Args:
        most_points: points that each line keeps.
    """
    lines = [line for line in chart.lines if np.isfinite(line.series[1]).any()]
    if not lines:
        return Html("")
    x = Scale.around(np.concatenate([line.series[0] for line in lines]), is_log=chart.log_x, margin=0.01)
    ends = [values for line in lines for values in (line.series[1], *(line.band or ()))]
    y = Scale.around(np.concatenate(ends), is_log=chart.log_y, zero=chart.zero)
    said = _in_words(chart, lines)
    drawn = joined(_group(number, line, x, y, most_points) for number, line in enumerate(lines))
    if chart.zero and y.low < 0 < y.high:
        level = UNITS - round(float(y.units(np.zeros(1))[0]))
        drawn = Html(f'<path class="zero" d="M-{UNITS} {level}H{2 * UNITS}"/>' + drawn)
    picture = element(
        "svg", drawn, viewBox=f"0 0 {UNITS} {UNITS}", preserveAspectRatio="none", role="img", aria_label=said
    )
    x_ticks, y_ticks = x.ticks(X_TICKS), y.ticks(Y_TICKS)
    places = [(x, x_ticks, "left"), (y, y_ticks, "bottom")]
    of_x, of_y = (joined(_tick(scale, tick, ticks, side) for tick in ticks) for scale, ticks, side in places)
    grid = joined(_mark(scale, tick, side) for scale, ticks, side in places for tick in ticks)
    frame = joined([
        element("div", chart.y_label, class_="y-label"),
        element("div", of_y, class_="y-ticks", aria_hidden="true"),
        element("div", element("div", grid, class_="grid", aria_hidden="true") + picture, class_="plot"),
        element("div", of_x, class_="x-ticks", aria_hidden="true"),
        element("div", chart.x_label, class_="x-label"),
    ])  # fmt: skip
    parts = [
        element(
            "figcaption", joined([element("h3", chart.title), *([element("p", chart.note)] if chart.note else [])])
        ),
        element("div", frame, class_="frame"),
        element("ul", joined(_legend(number, line) for number, line in enumerate(lines)), class_="legend"),
        details("Values as a table", _values(chart, lines)),
    ]
    return element("figure", joined(parts), class_="chart", data_x=_scale(x), data_y=_scale(y))


def figures(charts: Sequence[Chart], most_points: int) -> Html:
    """Return charts side by side, as the width of the page allows; those without values are left
    out.
    """
    drawn = [one for chart in charts if (one := figure(chart, most_points))]
    return element("div", joined(drawn), class_="figures") if drawn else Html("")


def _scale(scale: Scale) -> str:
    return f"{scale.low!r} {scale.high!r} {'log' if scale.is_log else 'linear'}"


def _group(number: int, line: Line, x: Scale, y: Scale, most: int) -> Html:
    """Return the paths of a line."""
    places, values = line.series
    paths = []
    if line.band is not None:
        low, high = line.band
        # The ends of a band keep their extremes too.
        keep = np.searchsorted(places, thinned(places, high, most)[0])
        keep = np.union1d(keep, np.searchsorted(places, thinned(places, low, most)[0]))
        paths.append(f'<path class="band" d="{_area(x, y, places[keep], low[keep], high[keep])}"/>')
    at, kept = thinned(places, values, most)
    points = _points(x, y, at, kept)
    paths.append(f'<path class="line" d="{_polyline(points)}"/>')
    if line.dots:
        paths.append(f'<path class="dots" d="{"".join(f"M{a} {b}h0" for a, b in points if a is not None)}"/>')
    kind = f"c{line.colour}{' faint' if line.faint else ''} {DASHES[line.dash % len(DASHES)]}".strip()
    return Html(f'<g data-line="{number}" class="{kind}">{"".join(paths)}</g>')


def _points(x: Scale, y: Scale, places: np.ndarray, values: np.ndarray) -> list[tuple[int | None, int]]:
    """Return the points in units, from the upper left; (None, 0) where there is no value."""
    across, up = x.units(places), y.units(values)
    whole = np.isfinite(across) & np.isfinite(up)
    return [
        (round(a), UNITS - round(b)) if w else (None, 0)
        for a, b, w in zip(across.tolist(), up.tolist(), whole.tolist(), strict=True)
    ]


def _polyline(points: Sequence[tuple[int | None, int]]) -> str:
    parts, pen_is_up = [], True
    for number, (a, b) in enumerate(points):
        if a is None:
            pen_is_up = True
            continue
        alone = pen_is_up and (number + 1 == len(points) or points[number + 1][0] is None)
        parts.append(f"{'M' if pen_is_up else 'L'}{a} {b}{'h0' if alone else ''}")
        pen_is_up = False
    return "".join(parts)


def _area(x: Scale, y: Scale, places: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """Return closed paths between two lines: along the upper one, and back along the lower one."""
    both = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], both, [False]]).astype(int)))
    found = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        part = slice(start, stop)
        upper, lower = _points(x, y, places[part], high[part]), _points(x, y, places[part], low[part])
        found.append("M" + "L".join(f"{a} {b}" for a, b in [*upper, *reversed(lower)] if a is not None) + "Z")
    return "".join(found)


def _tick(scale: Scale, tick: float, ticks: Sequence[float], side: str) -> Html:
    return element("span", tick_label(tick, ticks), style=f"{side}:{_percent(scale, tick)}%")


def _mark(scale: Scale, tick: float, side: str) -> Html:
    return element("i", style=f"{side}:{_percent(scale, tick)}%", class_="x" if side == "left" else "y")


def _percent(scale: Scale, tick: float) -> str:
    return f"{float(scale.units(np.array([tick]))[0]) / UNITS * 100:.3f}"


def _legend(number: int, line: Line) -> Html:
    kind = f"c{line.colour}{' faint' if line.faint else ''} {DASHES[line.dash % len(DASHES)]}".strip()
    dot = '<path class="dots" d="M12 5h0"/>' * line.dots
    swatch = Html(
        f'<svg class="{kind}" viewBox="0 0 24 10" aria-hidden="true"><path class="line" d="M1 5H23"/>{dot}</svg>'
    )
    name = swatch + element("span", line.label)
    return element("li", element("button", name, type="button", aria_pressed="true", data_line=number))


def _in_words(chart: Chart, lines: Sequence[Line]) -> str:
    """Return what the picture shows, for those who do not see it."""
    said = [f"{chart.title}: {chart.y_label} by {chart.x_label}."]
    for line in lines:
        places, values = (of[np.isfinite(line.series[1])] for of in line.series)
        lowest = int(values.argmin())
        said.append(
            f"{line.label}: from {short(values[0])} at {short(places[0])} to {short(values[-1])} at "
            f"{short(places[-1])}; lowest {short(values[lowest])} at {short(places[lowest])}, "
            f"highest {short(values.max())}."
        )
    return " ".join(said)


def _values(chart: Chart, lines: Sequence[Line]) -> Html:
    """Return the values of all lines at a few places."""
    longest = max((line.series[0] for line in lines), key=len)
    chosen = longest[np.unique(np.linspace(0, len(longest) - 1, ROWS).round().astype(int))]
    apart = float(np.diff(chosen).min()) / 2 if len(chosen) > 1 else np.inf
    rows = [[short(float(place)), *(_near(line, float(place), apart) for line in lines)] for place in chosen]
    return table(f"{chart.title}: {chart.y_label}", [chart.x_label, *(line.label for line in lines)], rows)


def _near(line: Line, place: float, apart: float) -> str:
    """Return the value of a line at the place nearest to one; a dash if none is near."""
    places, values = line.series
    nearest = int(np.abs(places - place).argmin())
    if abs(places[nearest] - place) > apart:
        return "–"
    shown = short(float(values[nearest]))
    if line.band is not None and np.isfinite(line.band[0][nearest]):
        shown += f" ({short(float(line.band[0][nearest]))} to {short(float(line.band[1][nearest]))})"
    return shown
