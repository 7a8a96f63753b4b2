"""Pages in a real browser: they answer to mouse and keyboard, read well aloud, print, and ask for
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report.written_runs import HOSTILE, write_ablation, write_lr_range, write_run, write_sweep

from gpt_research.report.write import write_report

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    for rate, gain in ((1e-3, 0.0), (4e-3, 0.2)):
        for seed in (1, 2):
            write_run(folder / f"runs/{rate}-{seed}", seed, learning_rate=rate, gain=gain)
    write_run(folder / "runs" / HOSTILE, 3, learning_rate=2e-3, diverge=60)
    write_run(folder / "one", steps=200)
    write_ablation(folder / "ablation", arms=("base", "rope", HOSTILE))
    write_sweep(folder / "sweep")
    write_lr_range(folder / "range")
    named = {name: [folder / name] for name in ("one", "ablation", "sweep", "range")}
    named["runs"] = sorted((folder / "runs").iterdir())
    return {name: write_report(runs, folder / f"{name}.html", with_compressors=False) for name, runs in named.items()}


def chart(page: Any, title: str) -> Any:
    return page.locator("figure.chart").filter(has=page.locator("h3", has_text=re.compile(f"^{title}$")))


def ticks(figure: Any, axis: str) -> list[str]:
    return figure.locator(f".{axis}-ticks span").all_text_contents()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("runs", "desktop", "light"),
        ("sweep", "phone", "light"),
        ("range", "desktop", "dark"),
        *(
            pytest.param(name, width, scheme, marks=pytest.mark.slow)
            for name, width, scheme in (
                ("runs", "phone", "dark"),
                ("runs", "phone", "light"),
                ("runs", "desktop", "dark"),
                ("ablation", "phone", "dark"),
                ("ablation", "desktop", "light"),
            )
        ),
    ],
)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(
    pages: dict[str, Path], opened: Open, name: str, width: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra dev)")
    page = opened(pages[name], width=width, scheme=scheme)
    page.evaluate("for (const part of document.querySelectorAll('figure details, .printed')) part.open = true")
    found = axe.Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_each_figure_has_a_title_words_and_a_table(pages: dict[str, Path], opened: Open) -> None:
    page = opened(pages["runs"])
    figures = page.locator("figure.chart")
    assert figures.count() >= 8
    for number in range(figures.count()):
        figure = figures.nth(number)
        title = figure.locator("figcaption h3").inner_text()
        assert figure.locator("svg[role=img]").first.get_attribute("aria-label").startswith(f"{title}: ")
        assert figure.locator("table tbody tr").count() >= 2


def test_the_ticks_of_the_script_are_those_of_the_file(pages: dict[str, Path], opened: Open) -> None:
    """The script draws ticks anew, by rules that are written twice."""
    every = "[...document.querySelectorAll('.x-ticks span, .y-ticks span')]"
    seen = f"{every}.map(tick => [tick.textContent, tick.style.left || tick.style.bottom])"
    for name in ("one", "range"):
        with_script, without = (opened(pages[name], scripts=scripts).evaluate(seen) for scripts in (True, False))
        assert [text for text, _ in with_script] == [text for text, _ in without]
        for (_, one), (_, other) in zip(with_script, without, strict=True):
            assert float(one[:-1]) == pytest.approx(float(other[:-1]), abs=0.01)


def test_the_mouse_reads_values_and_the_keyboard_too(pages: dict[str, Path], opened: Open) -> None:
    page = opened(pages["runs"])
    figure = chart(page, "Validation")
    plot = figure.locator(".plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    tip = figure.locator(".tip").inner_text()
    assert tip.startswith("step 50")
    assert re.search(r"A: learning_rate 0.001 \(2 seeds\): \d\.\d+ \(\d\.\d+ to \d\.\d+\)", tip)
    page.mouse.move(5, 5)
    assert not figure.locator(".tip").is_visible()
    plot.focus()
    steps = {"ArrowRight": 10, "PageDown": 100, "ArrowLeft": 90, "Home": 10, "End": 100, "PageUp": 10}
    for key, step in steps.items():
        page.keyboard.press(key)
        assert figure.locator(".said").text_content().startswith(f"step {step}. A: learning_rate 0.001 (2 seeds): ")
    page.keyboard.press("Escape")
    assert figure.locator(".said").text_content() == ""
    assert not figure.locator(".tip").is_visible()


def test_a_value_that_is_read_is_the_value_of_the_run(tmp_path: Path, opened: Open) -> None:
    lines = write_run(tmp_path / "run")
    page = opened(write_report([tmp_path / "run"], with_compressors=False))
    bits = {line["step"]: line["val_bits_per_byte"] for line in lines if "val_bits_per_byte" in line}
    figure = chart(page, "Validation")
    figure.locator(".plot").focus()
    for step, value in bits.items():
        page.keyboard.press("ArrowRight")
        said = figure.locator(".said").text_content()
        assert said.startswith(f"step {step}. validation: ")
        assert float(said.split(": ")[1].rstrip(".")) == pytest.approx(value, abs=1e-4)


def test_a_drag_zooms_and_everything_comes_back(pages: dict[str, Path], opened: Open) -> None:
    page = opened(pages["runs"])
    figure = chart(page, "Training loss")
    plot = figure.locator(".plot")
    plot.scroll_into_view_if_needed()
    box, before = plot.bounding_box(), (ticks(figure, "x"), ticks(figure, "y"))
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=4)
    assert figure.locator(".chosen").is_visible()
    page.mouse.up()
    places = [float(tick) for tick in ticks(figure, "x")]
    assert 49 <= min(places) < max(places) <= 77
    assert ticks(figure, "y") != before[1]
    figure.get_by_role("button", name="Show everything").click()
    assert (ticks(figure, "x"), ticks(figure, "y")) == before


def test_the_keyboard_zooms_about_the_cursor(pages: dict[str, Path], opened: Open) -> None:
    page = opened(pages["runs"])
    figure = chart(page, "Training loss")
    before = ticks(figure, "x")
    figure.locator(".plot").focus()
    page.keyboard.press("End")
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert min(float(tick) for tick in ticks(figure, "x")) >= 74
    assert figure.locator(".said").text_content().startswith("Shows step 7")
    page.keyboard.press("-")
    assert 49 <= min(float(tick) for tick in ticks(figure, "x")) <= 60
    page.keyboard.press("0")
    assert ticks(figure, "x") == before


def test_a_curve_is_hidden_by_mouse_or_keyboard_and_the_axis_follows(pages: dict[str, Path], opened: Open) -> None:
    page = opened(pages["runs"])
    figure = chart(page, "Validation")
    before = ticks(figure, "y")
    buttons = figure.locator(".legend button")
    names = buttons.all_text_contents()
    assert buttons.first.get_attribute("aria-pressed") == "true"
    buttons.first.click()
    assert buttons.first.get_attribute("aria-pressed") == "false"
    assert not figure.locator('svg [data-line="0"]').first.is_visible()
    figure.locator(".plot").focus()
    page.keyboard.press("Home")
    assert names[0] not in figure.locator(".said").text_content()
    assert names[1] in figure.locator(".said").text_content()
    for number in range(1, len(names)):
        buttons.nth(number).focus()
        page.keyboard.press("Enter")
    figure.locator(".plot").focus()
    page.keyboard.press("ArrowRight")  # nothing is left to read, and nothing breaks
    assert figure.locator(".said").text_content() == ""
    for number in range(len(names)):
        buttons.nth(number).focus()
        page.keyboard.press("Space")
    assert ticks(figure, "y") == before


def test_without_scripts_the_curves_are_there(pages: dict[str, Path], opened: Open) -> None:
    page = opened(pages["one"], scripts=False)
    box = chart(page, "Validation").locator("svg path.line").first.bounding_box()
    assert box["width"] > 200
    assert box["height"] > 100
    assert page.locator(".tools").count() == 0


def test_print_opens_what_is_worth_printing_in_dark_ink_on_white(
    pages: dict[str, Path], opened: Open, tmp_path: Path
) -> None:
    page = opened(pages["one"], scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 39, 51)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert not page.locator(".tools").first.is_visible()
    samples = page.locator("pre.text")
    assert samples.count() == 2
    assert all(samples.nth(number).is_visible() for number in range(2))
    assert not page.get_by_text("Values as a table").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not samples.first.is_visible()
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000


def test_a_name_that_holds_a_script_runs_nothing(pages: dict[str, Path], opened: Open) -> None:
    for name in ("runs", "ablation"):
        page = opened(pages[name])
        assert page.locator("main img, main script").count() == 0
        assert page.get_by_text(HOSTILE).count() > 0
