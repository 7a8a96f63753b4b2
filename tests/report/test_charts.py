"""A chart holds its numbers, in the picture, in words and in a table; ticks are round."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gpt_research.report.charts import Chart, Line, figure
from gpt_research.report.html import page
from gpt_research.report.scales import UNITS, Scale, short, tick_label


def drawn(html: str, kind: str = "line") -> list[list[tuple[float, float]]]:
    """Return the stretches of the first path of a kind, as values."""
    scales = []
    for text in (re.search(r'data-x="([^"]*)"', html), re.search(r'data-y="([^"]*)"', html)):
        assert text is not None
        low, high, which = text[1].split()
        scales.append((float(low), float(high), which == "log"))
    path = re.search(rf'<path class="{kind}" d="([^"]*)"', html)
    assert path is not None

    def value(units: float, scale: tuple[float, float, bool]) -> float:
        low, high, is_log = scale
        return low * (high / low) ** (units / UNITS) if is_log else low + (high - low) * units / UNITS

    stretches = []
    for stretch in path[1].split("M")[1:]:
        numbers = [int(n) for n in re.findall(r"-?\d+", stretch.replace("h0", ""))]
        stretches.append(
            [
                (value(a, scales[0]), value(UNITS - b, scales[1]))
                for a, b in zip(numbers[::2], numbers[1::2], strict=True)
            ]
        )
    return stretches


@pytest.mark.parametrize("log", [False, True])
def test_the_path_holds_the_values(log: bool) -> None:
    x, y = np.linspace(10, 5000, 40), np.geomspace(0.1, 900, 40)
    (points,) = drawn(figure(Chart("A", "step", "loss", [Line("a", (x, y))], log_x=log, log_y=log), 100))
    assert [p[0] for p in points] == pytest.approx(x.tolist(), rel=1e-3, abs=0.01)
    assert [p[1] for p in points] == pytest.approx(y.tolist(), rel=1e-3, abs=0.02)


def test_a_missing_value_is_a_gap_and_a_lonely_point_is_seen() -> None:
    y = np.array([1.0, 2.0, np.nan, 3.0, np.nan, 4.0, 5.0])
    html = figure(Chart("A", "step", "loss", [Line("a", (np.arange(7.0), y))]), 100)
    assert [len(stretch) for stretch in drawn(html)] == [2, 1, 2]
    assert html.count("h0") == 1


def test_a_spike_among_100_000_steps_is_drawn() -> None:
    x, y = np.arange(100_000.0), np.ones(100_000)
    y[77_777] = 42.0
    html = figure(Chart("A", "step", "loss", [Line("a", (x, y))]), 300)
    assert len(html) < 20_000
    (points,) = drawn(html)
    assert max(points, key=lambda p: p[1]) == (pytest.approx(77_777, rel=1e-4), pytest.approx(42, rel=1e-3))


def test_a_band_goes_along_its_upper_end_and_back_along_the_lower_one() -> None:
    x, y = np.arange(3.0), np.array([2.0, 3.0, 4.0])
    (points,) = drawn(figure(Chart("A", "step", "loss", [Line("a", (x, y), band=(y - 1, y + 1))]), 100), "band")
    assert [p[1] for p in points] == pytest.approx([3, 4, 5, 3, 2, 1], abs=1e-3)


def test_words_and_table_say_what_the_picture_shows() -> None:
    x, y = np.arange(1.0, 101.0), 8 - np.arange(100) / 25
    html = figure(Chart("Loss", "step", "nats", [Line("arm <b>", (x, y), band=(y - 0.5, y + 0.5))]), 100)
    assert (
        'aria-label="Loss: nats by step. arm &lt;b&gt;: from 8 at 1 to 4.0400 at 100; lowest 4.0400 at 100, highest 8.'
        in html
    )
    rows = re.findall(r"<tr>.*?</tr>", html)
    assert len(rows) == 13
    assert rows[-1] == '<tr><th scope="row">100</th><td class="number">4.0400 (3.5400 to 4.5400)</td></tr>'


def test_a_chart_without_a_finite_value_is_left_out() -> None:
    assert figure(Chart("A", "step", "loss", [Line("a", (np.arange(3.0), np.full(3, np.nan)))]), 100) == ""
    assert figure(Chart("A", "step", "loss", []), 100) == ""


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-9, 1e12])
def test_equal_values_and_a_single_point_have_an_axis(value: float) -> None:
    for size in (1, 4):
        scale = Scale.around(np.full(size, value))
        assert scale.low < value < scale.high
        assert "NaN" not in figure(Chart("A", "x", "y", [Line("a", (np.arange(float(size)), np.full(size, value)))]), 9)


@pytest.mark.parametrize(
    ("low", "high", "log", "labels"),
    [
        (0, 1000, False, ["0", "200", "400", "600", "800", "1000"]),
        (2.287, 2.613, False, ["2.3", "2.4", "2.5", "2.6"]),
        (0.0001, 0.00207, False, ["0.0005", "0.0010", "0.0015", "0.0020"]),
        (-0.053, 0.004, False, ["-0.04", "-0.02", "0"]),
        (3e5, 2.1e6, False, ["0.5M", "1.0M", "1.5M", "2.0M"]),
        (1e-4, 3e-2, True, ["1e-4", "3e-4", "0.001", "0.003", "0.01", "0.03"]),
        (0.7, 1.3, True, ["0.8", "1.0", "1.2"]),
        (1, 1e12, True, ["1", "1000", "1M", "1B", "1T"]),
    ],
)
def test_ticks_are_round_and_their_labels_tell_them_apart(
    low: float, high: float, log: bool, labels: list[str]
) -> None:
    ticks = Scale(low, high, is_log=log).ticks(6 if log else 5)
    assert [tick_label(tick, ticks) for tick in ticks] == labels


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0, "0"), (1000, "1,000"), (2.29134, "2.2913"), (1.02e6, "1.020M"),
     (0.00025, "2.5e-4"),
     (123.456, "123.46"), (34_567, "34.57k"), (-0.5, "-0.5000"), (4_230_000_000, "4.230B")],
)  # fmt: skip
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert short(value) == text


def test_the_page_allows_no_request_and_no_script_but_its_own() -> None:
    import base64
    import hashlib

    html = page("A </title><script>1</script>", "", [], "")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    script = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert "unsafe-inline" not in policy[1].split("script-src")[1]
