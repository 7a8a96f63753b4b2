"""Tables whose rows have their number drawn beside it: a dot, and a whisker for its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt_research.report.charts import COLOURS
from gpt_research.report.html import Html, element, escaped, joined, scrolling
from gpt_research.report.scales import UNITS, Scale, tick_label

MOST_TICKS = 4


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    label: object
    value: float | None
    low: float | None = None
    high: float | None = None
    points: Sequence[float] = ()
    """Single values, drawn pale, such as the difference of each pair."""
    cells: Sequence[object] = ()
    """What stands in the other columns."""
    colour: int = 0

    @property
    def numbers(self) -> list[float]:
        found = [self.value, self.low, self.high, *self.points]
        return [number for number in found if number is not None and math.isfinite(number)]


def interval_table(
    caption: str, headings: Sequence[str], rows: Sequence[Row], *, mark: float | None = 0.0, texts: Sequence[int] = ()
) -> Html:
    """Return a table with the rows' names, the drawn intervals, and the other columns.

    Args:
        headings: of the first column, of the drawn one, and of the others.
        mark: a number that the drawn column holds and marks, such as 0 for "no difference".
        texts: numbers of those of the other columns that hold text.
    """
    numbers = [number for row in rows for number in row.numbers] + ([] if mark is None else [mark])
    scale = Scale.around(np.array(numbers))
    ticks = scale.ticks(MOST_TICKS)
    ruler = joined(
        element("span", tick_label(t, ticks), style=f"left:{_at(scale, t) / UNITS * 100:.2f}%") for t in ticks
    )
    drawn = escaped(headings[1]) + element("div", ruler, class_="ruler", aria_hidden="true")
    kinds = [None if number in texts else "number" for number in range(len(headings) - 2)]
    others = [element("th", h, scope="col", class_=k) for h, k in zip(headings[2:], kinds, strict=True)]
    first = element("th", headings[0], scope="col"), element("th", drawn, scope="col", class_="interval")
    body = []
    for row in rows:
        cells = [element("td", cell, class_=kind) for cell, kind in zip(row.cells, kinds, strict=True)]
        picture = element("td", _picture(row, scale, mark), class_="interval")
        body.append(element("tr", joined([element("th", row.label, scope="row"), picture, *cells], "")))
    head = element("thead", element("tr", joined([*first, *others], "")))
    inside = element("caption", caption) + head + element("tbody", joined(body))
    return scrolling(element("table", inside), caption)


def _at(scale: Scale, value: float) -> int:
    return round(float(scale.units(np.array([value]))[0]))


def _picture(row: Row, scale: Scale, mark: float | None) -> Html:
    """Return the drawing of a row. It says nothing that the other columns do not say."""
    parts = [f'<path class="zero" d="M{_at(scale, mark)} 0V20"/>'] if mark is not None else []
    if row.points:
        parts.append(
            f'<path class="pairs" d="{"".join(f"M{_at(scale, p)} 15h0" for p in row.points if math.isfinite(p))}"/>'
        )
    if row.low is not None and row.high is not None and math.isfinite(row.low) and math.isfinite(row.high):
        parts.append(f'<path class="line" d="M{_at(scale, row.low)} 8H{_at(scale, row.high)}"/>')
    if row.value is not None and math.isfinite(row.value):
        parts.append(f'<path class="dots" d="M{_at(scale, row.value)} 8h0"/>')
    kind = f"c{row.colour % COLOURS}"
    picture = Html("".join(parts))
    return element(
        "svg", picture, class_=kind, viewBox=f"0 0 {UNITS} 20", preserveAspectRatio="none", aria_hidden="true"
    )
