"""The view Look inside in a browser: every number it shows is the server's, and every part of it
can be reached by mouse and keyboard.
"""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import httpx
import pytest
from serving.page.conftest import Site, Visit

TEXT = "the king loves the crown 12.\na fool hates the horse 7."


def ask(site: Site, what: str, **asked: Any) -> dict[str, Any]:
    asked = {"model": "tiny", "text": TEXT, **asked}
    answer = httpx.post(f"{site.server.address}/api/{what}", json=asked, trust_env=False, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def look(visit: Visit, part: str = "attention", **more: Any) -> Any:
    page = visit(f"#/inside?text={TEXT}&part={part}".replace("\n", "%0A"), **more)
    page.locator(".strip .t").nth(5).wait_for()
    return page


def test_the_text_has_the_chances_of_the_analysis(site: Site, visit: Visit) -> None:
    page = look(visit)
    found = ask(site, "analysis")
    options = page.locator(".strip .t")
    assert options.count() == len(found["tokens"])
    for number, surprise in enumerate(found["surprise"][1:], 1):
        assert f"{surprise / math.log(2):.1f} bits" in options.nth(number).get_attribute("aria-label")
    assert f"loss {found['loss']:.3f}"[:8] in page.locator(".summary").inner_text()
    options.nth(4).click()
    best = page.locator(".alternatives li .piece").first.inner_text()
    assert best == found["top"][3][0]["label"]


def test_the_text_is_coloured_by_uncertainty_too(site: Site, visit: Visit) -> None:
    page = look(visit)
    page.get_by_label("Colour by").select_option("entropy")
    found = ask(site, "analysis")
    words = page.locator(".strip .t").nth(6).get_attribute("aria-label")
    assert f"{found['entropy'][5] / math.log(2):.1f} bits of uncertainty" in words
    page.reload()
    page.locator(".strip .t").nth(5).wait_for()
    assert page.get_by_label("Colour by").input_value() == "entropy"


def test_the_grid_shows_each_head_and_arrow_keys_choose_one(site: Site, visit: Visit) -> None:
    page = look(visit)
    heads = page.get_by_role("radio")
    heads.nth(3).wait_for()
    assert heads.count() == 4
    heads.nth(0).click()
    page.keyboard.press("ArrowDown")
    page.get_by_role("heading", name="Layer 1, head 0").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name="Layer 1, head 1").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
    # The picture holds the server's weights: the square root of each as opacity.
    grid = base64.b64decode(ask(site, "attention")["grid"][1][1])
    drawn = page.evaluate(
        """() => {
            const canvas = document.activeElement.firstChild;
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return [...data].filter((_, at) => at % 4 === 3);
        }"""
    )
    assert drawn == pytest.approx([math.sqrt(weight / 255) * 255 for weight in grid], abs=1.01)


def test_a_token_shows_what_it_looks_at(site: Site, visit: Visit) -> None:
    page = look(visit)
    page.get_by_role("radio").nth(2).click()
    page.get_by_role("heading", name="Layer 1, head 0").wait_for()
    page.locator(".strip .t").nth(8).hover()
    weights = ask(site, "attention/head", layer=1, head=0)["weights"][8]
    most = max(range(9), key=lambda key: weights[key])
    label = ask(site, "analysis")["tokens"][most]["label"]
    assert page.locator(".looks li .piece").first.inner_text() == label
    shares = page.evaluate(
        "[...document.querySelectorAll('.strip .t')].map((token) => +token.style.getPropertyValue('--share'))"
    )
    expected = [math.sqrt(weight / max(weights)) for weight in weights[:8]]
    assert shares[:8] == pytest.approx(expected, abs=1e-3)
    assert page.locator(".strip .query").count() == 1
    page.locator(".large-head select").select_option("to")
    page.locator(".strip .t").nth(0).hover()
    assert "is looked at by" in page.locator(".looks").inner_text()


def test_the_lens_reads_every_layer_and_marks_what_came(site: Site, visit: Visit) -> None:
    page = look(visit, "lens")
    found = ask(site, "lens", top=5)
    cells = page.locator(".cell")
    cells.first.wait_for()
    layers, last = len(found["layers"]), len(found["tokens"]) - 1
    assert cells.count() == layers * len(found["tokens"])
    for at in (0, 3, last - 1):
        for layer in range(layers):
            best = found["top"][layer][at][0]
            text = cells.nth(at * layers + layer).locator(".word").inner_text()
            right = best["id"] == found["tokens"][at + 1]["id"]
            assert text == best["label"] + (" ✓" if right else "")
    cells.nth(3 * layers).click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    cell = page.locator(".cell:focus")
    assert (cell.get_attribute("data-layer"), cell.get_attribute("data-at")) == ("1", "4")
    page.keyboard.press("Enter")
    assert page.locator(".lens-detail h2").inner_text().startswith("block 0, after")


def test_switching_parts_off_changes_the_text_and_switching_on_brings_it_back(site: Site, visit: Visit) -> None:
    page = look(visit, "off")
    before = page.locator(".strip .t").nth(5).get_attribute("aria-label")
    switch = page.get_by_role("button", name="Layer 1, layer")
    switch.click()
    page.get_by_role("button", name="Layer 0, head 1").click()
    found = ask(site, "switch_off", off={"layers": [1], "heads": [[0, 1]]})
    page.get_by_role("heading", name=f"→ {found['after']['loss']:.4g} nats").wait_for()
    for at in (3, 7):
        chances = [math.exp(-found[when]["surprise"][at]) for when in ("before", "after")]
        words = page.locator(".strip .t").nth(at).get_attribute("aria-label")
        shown = [float(text) for text in re.findall(r"([\d.]+)%", words)]
        assert shown == pytest.approx([100 * chance for chance in chances], rel=0.06, abs=0.02)
    page.reload()
    heading = page.get_by_role("heading", name=f"→ {found['after']['loss']:.4g} nats")
    heading.wait_for()
    page.get_by_label("Checkpoint").select_option("30")
    page.locator(".summary", has_text="step 30").wait_for()
    page.go_back()
    page.locator(".summary", has_text="step 60").wait_for()
    heading.wait_for()
    page.get_by_role("button", name="Switch all on").click()
    assert page.locator(".strip .t").nth(5).get_attribute("aria-label") == before
    assert page.locator(".switch[aria-pressed=true]").count() == 0


def test_surprise_is_drawn_along_the_text(visit: Visit) -> None:
    page = look(visit, "curves")
    figure = page.locator("figure.chart")
    figure.locator(".plot").focus()
    page.keyboard.press("Home")  # the first token has no surprise, so its curve begins at the second
    said = figure.locator(".said").text_content()
    bits = float(re.search(r"surprise: (\d+\.\d+)", said)[1])  # type: ignore[index]
    assert f"{bits:.1f} bits" in page.locator(".strip .t").nth(1).get_attribute("aria-label")
    assert page.get_by_role("table", name="Tokens by surprise").locator("tbody tr").count() == 8


def test_the_loss_by_position_is_computed_and_drawn(visit: Visit) -> None:
    page = look(visit, "positions")
    page.locator("figure.chart .line").first.wait_for()
    assert "validation, step 60" in page.locator(".legend").inner_text()


def test_a_text_that_is_too_long_can_be_shortened(visit: Visit) -> None:
    text = "the king gives the crown 123. " * 12
    page = visit(f"#/inside?text={text}", errors=("400",))
    page.get_by_label("Text", exact=True).wait_for()
    page.get_by_role("alert").get_by_text(re.compile("looks at 63 at most")).wait_for()
    page.get_by_role("button", name="Keep its end").click()
    page.locator(".strip .t").nth(20).wait_for()
    assert page.get_by_label("Text", exact=True).input_value().endswith("the crown 123.")


def test_another_checkpoint_has_other_chances_and_back_returns(site: Site, visit: Visit) -> None:
    page = look(visit)
    newest = page.locator(".summary").inner_text()
    page.get_by_label("Checkpoint").select_option("6")
    page.locator(".summary", has_text="step 6").wait_for()
    assert f"loss {ask(site, 'analysis', model='tiny@6')['loss']:.4g}" in page.locator(".summary").inner_text()
    page.go_back()
    page.locator(".summary", has_text="step 60").wait_for()
    assert page.locator(".summary").inner_text() == newest


def test_a_validation_text_is_taken_for_those_who_have_none(visit: Visit) -> None:
    page = visit("#/inside")
    page.get_by_role("button", name="Take a validation text").click()
    page.locator(".strip .t").nth(10).wait_for()
    assert len(page.get_by_label("Text", exact=True).input_value()) > 40
    assert "text=" in page.get_by_role("link", name="Trace", exact=True).get_attribute("href")
