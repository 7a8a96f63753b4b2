"""What all views share: the address, the back button, widths, colours, and errors in words."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest
from serving.page.conftest import PHONE, Site, Visit

TEXT = "the king loves the crown 12."
VIEWS = {
    "write": "#/write?prompt=the king&max_tokens=30",
    "attention": f"#/inside?text={TEXT}",
    "lens": f"#/inside?text={TEXT}&part=lens",
    "off": f"#/inside?text={TEXT}&part=off&off=h0.1,m1",
    "training": f"#/training?text={TEXT}",
    "documents": "#/data?part=documents",
    "document": "#/data?part=document&corpus=plays&split=train&number=0",
    "card": "#/data?part=card",
    "trace": f"#/trace?q={TEXT}",
}
READY = {
    "write": ".view", "attention": ".looks li", "lens": ".lens-detail p", "off": ".switches h2", "training": ".heat",
    "documents": "main table", "document": "main table", "card": "main table", "trace": ".matches li",
}  # fmt: skip


def opened(visit: Visit, name: str, **more: Any) -> Any:
    page = visit(VIEWS[name], **more)
    if name == "write":
        page.get_by_role("button", name="Write", exact=True).click()
        page.get_by_role("button", name="Go on").wait_for()
        page.locator(".strip .t").nth(5).click()
    page.locator(READY[name]).first.wait_for()
    return page


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("write", PHONE, "dark"), ("write", 1600, "light"), ("attention", 1600, "dark"), ("lens", PHONE, "light"),
        ("off", 1280, "dark"), ("training", PHONE, "light"), ("documents", 1280, "light"), ("document", PHONE, "dark"),
        ("card", 1600, "light"), ("trace", 1280, "dark"), ("trace", PHONE, "light"),
    ],
)  # fmt: skip
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(visit: Visit, name: str, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra dev)")
    page = opened(visit, name, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()


def test_the_views_are_reached_by_keyboard_and_back_returns(visit: Visit) -> None:
    page = visit("#/write?prompt=the king")
    titles = []
    for name in ("Look inside", "Through training", "Data", "Trace"):
        page.get_by_role("link", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        page.locator(f"h1:text-is('{name}')").wait_for(state="attached")
        titles.append(page.title())
    assert titles == [f"{name} · tiny · gpt-research" for name in ("Look inside", "Through training", "Data", "Trace")]
    for name in ("Data", "Through training", "Look inside", "Write"):
        page.go_back()
        page.locator(f"h1:text-is('{name}')").wait_for(state="attached")
    assert page.get_by_label("Prompt", exact=True).input_value() == "the king"


def test_a_view_asks_with_its_own_values_while_the_address_already_names_the_next(visit: Visit) -> None:
    """The browser tells the page of a new address a moment later. An answer that came within this
    moment once made the old view ask for the text of the new one, which had none.
    """
    page = visit()
    held = []
    page.route("**/api/analysis", lambda route: held.append(route))
    page.evaluate("location.hash = '#/inside?text=the king'")
    page.locator("h1:text-is('Look inside')").wait_for(state="attached")
    page.locator(".texts .waiting").wait_for()
    page.evaluate("history.replaceState(null, '', '#/data')")  # the event does not come at all
    with page.expect_request("**/api/attention") as asked:
        held[0].continue_()
    assert asked.value.post_data_json["text"] == "the king"
    assert asked.value.response().status == 200
    assert page.url.endswith("#/data")


def test_reload_keeps_prompt_settings_checkpoint_and_text(visit: Visit) -> None:
    page = visit("#/write?prompt=the king")
    page.get_by_label("Checkpoint").select_option("30")
    page.get_by_role("heading", name="tiny, step 30").wait_for()
    page.get_by_label("Prompt", exact=True).fill("a fool")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Tokens", exact=True).fill("12")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Go on").wait_for()
    before = page.locator(".strip .t").all_text_contents()
    page.reload()
    page.get_by_role("button", name="Go on").wait_for()
    assert page.locator(".strip .t").all_text_contents() == before
    assert page.get_by_label("Prompt", exact=True).input_value() == "a fool"
    assert page.get_by_label("Temperature").input_value() == "0.5"
    assert page.get_by_label("Checkpoint").input_value() == "30"


def test_the_header_keeps_what_was_typed_and_follows_the_run(visit: Visit) -> None:
    page = visit("#/write?prompt=the king")
    page.get_by_label("Prompt", exact=True).fill("a horse")
    page.get_by_label("Checkpoint").select_option("30")
    page.get_by_role("heading", name="tiny, step 30").wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == "a horse"
    run = page.locator("#pick select").first
    run.focus()
    run.select_option("mortal")
    page.get_by_role("heading", name="mortal", exact=True).wait_for()
    assert page.evaluate("document.activeElement.value") == "mortal"
    page.get_by_label("Checkpoint").select_option("12")
    page.get_by_role("heading", name="mortal, step 12").wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == "a horse"


def test_a_view_that_does_not_come_is_told_and_asked_for_again(visit: Visit) -> None:
    page = visit("#/write", errors=("ERR_FAILED",))
    held: list[Any] = []
    page.route("**/trace.js", lambda route: held.append(route) if not held else route.abort())
    with page.expect_request("**/trace.js"):
        page.evaluate("location.hash = '#/trace'")
    page.evaluate("location.hash = '#/write'")
    page.wait_for_timeout(400)  # more than it takes until a view says that it comes
    assert page.get_by_label("Prompt", exact=True).is_visible()
    held[0].abort()
    # If the browser has not noticed that yet, it does not ask for the file anew.
    page.evaluate("location.hash = '#/trace'")
    alert = page.get_by_role("alert").filter(has_text="Trace could not be loaded")
    alert.wait_for()
    page.unroute("**/trace.js")
    alert.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Trace", exact=True).wait_for()


def test_dark_comes_from_the_system_or_from_the_switch_and_stays(visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = visit(scheme="dark")
    assert page.evaluate(ground) == "rgb(20, 25, 31)"
    page.get_by_label("Colours").select_option("light")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.reload()
    page.locator(".view").wait_for()
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.get_by_label("Colours").input_value() == "light"
    other = visit(scheme="light")
    other.get_by_label("Colours").select_option("dark")
    assert other.evaluate(ground) == "rgb(20, 25, 31)"


def test_a_run_or_a_checkpoint_that_is_not_there_is_named_with_the_way_out(visit: Visit) -> None:
    page = visit("#/write?run=nobody")
    assert 'no run "nobody"' in page.get_by_role("alert").last.inner_text()
    page.get_by_role("button", name="Look at tiny").click()
    page.get_by_label("Prompt", exact=True).wait_for()
    page = visit("#/inside?step=7")
    assert "no checkpoint of step 7" in page.locator("main").inner_text()
    page.get_by_role("button", name="Take the newest checkpoint").click()
    page.get_by_label("Text", exact=True).wait_for()


def test_a_checkpoint_that_is_deleted_while_one_looks_is_named_with_the_way_out(site: Site, visit: Visit) -> None:
    page = visit(f"#/inside?run=mortal&step=18&text={TEXT}", errors=("404",))
    page.locator(".strip .t").nth(5).wait_for()
    shutil.rmtree(site.mortal / "checkpoints" / "step_00000024")
    page.goto(page.url.replace("step=18", "step=24"))
    page.get_by_role("button", name="Take the newest checkpoint").click()
    page.locator(".summary", has_text="step 60").wait_for()


def test_a_server_that_stops_is_noticed_and_so_is_its_return(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=5", errors=("ERR_INTERNET_DISCONNECTED",))
    page.context.set_offline(True)
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator("#notice").get_by_text("The server does not answer").wait_for()
    assert "does not answer" in page.locator(".pane .problem").inner_text()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").first.click()
    page.wait_for_function("() => document.getElementById('notice').childElementCount === 0")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Go on").wait_for()


def test_the_header_names_every_run_and_checkpoint(visit: Visit) -> None:
    page = visit()
    assert page.locator("#pick select").first.locator("option").all_text_contents() == [
        "tiny", "mortal", "lost", "unindexed", "live",
    ]  # fmt: skip
    steps = page.get_by_label("Checkpoint").locator("option").all_text_contents()
    assert steps[0] == "newest (60)"
    assert re.fullmatch(r"step 60 \((best, )?validation \d\.\d+\)", steps[1])
    assert len(steps) == 11


def test_the_newest_checkpoint_is_asked_also_if_the_server_started_with_another(visit: Visit) -> None:
    page = visit()
    changed: dict[str, Any] = {}

    def runs(route: Any) -> None:
        found = route.fetch().json()
        found["runs"][0] |= changed
        route.fulfill(json=found)

    page.route("**/api/runs", runs)
    page.evaluate(f"location.hash = '#/inside?text={TEXT}'")
    for found, model, label in (
        ({"served_step": 30}, "tiny@newest", "newest (60)"),
        ({"served_step": 30, "step_is_named": True}, "tiny", "step 30 (served)"),
    ):
        changed.update(found)
        with page.expect_request("**/api/analysis") as asked:
            page.reload()
        assert asked.value.post_data_json["model"] == model
        assert page.get_by_label("Checkpoint").locator("option").first.text_content() == label


@pytest.mark.alone
def test_the_first_paint_comes_within_a_second(visit: Visit) -> None:
    visit()
    page = visit()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 1000
