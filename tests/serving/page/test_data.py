"""The view Data in a browser: from the corpora to a token and the steps that read it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from serving.page.conftest import Site, Visit


def test_one_goes_from_the_corpora_to_a_document_and_the_steps_that_read_it(site: Site, visit: Visit) -> None:
    page = visit("#/data")
    page.get_by_role("link", name="plays").click()
    page.get_by_role("table", name="Documents of plays, training").get_by_role("link").first.click()
    page.locator(".strip .t").nth(20).wait_for()
    page.locator(".strip .t").nth(3).click()
    page.locator(".strip .t").nth(6).click(modifiers=["Shift"])
    page.get_by_role("heading", name="When the chosen tokens were read").wait_for()
    asked = {"run": "tiny", "corpus": "plays", "split": "train", "number": 0, "first": 3, "last": 7, "limit": 40}
    found = httpx.get(f"{site.server.address}/api/data/reads", params=asked, trust_env=False).json()
    table = page.get_by_role("table", name="Windows that held them")
    steps = table.locator("tbody th").all_text_contents() if found["reads"] else []
    assert [int(step) for step in steps] == [read["step"] for read in found["reads"]]
    assert found["reads"], "no step of a run of several passes read the first tokens"
    page.go_back()
    page.go_back()
    page.get_by_role("table", name="Corpora").wait_for()


def test_the_model_colours_a_document(visit: Visit) -> None:
    page = visit("#/data?part=document&corpus=plays&split=val&number=0")
    page.locator(".strip .t").nth(20).wait_for()
    assert page.get_by_text("Training never reads", exact=False).first.is_visible()
    page.get_by_role("button", name="Colour by the model's chances").click()
    page.get_by_text("Loss of these tokens").wait_for()
    levels = [page.locator(f".strip .s{level}").count() for level in range(5)]
    assert sum(levels) == page.locator(".strip .t").count()
    assert sum(count > 0 for count in levels) >= 3


def test_search_finds_words_and_opens_their_document_at_their_token(visit: Visit) -> None:
    page = visit("#/data?part=search")
    page.get_by_label("Find").fill("A FOOL hates the horse")
    page.get_by_label("Find").press("Enter")
    page.locator(".matches li").first.wait_for()
    assert {text.lower() for text in page.locator("mark").all_text_contents()} == {"a fool hates the horse"}
    page.locator(".matches a").first.click()
    chosen = page.locator(".strip [aria-selected=true]")
    chosen.wait_for()
    following = page.evaluate(
        "() => { let token = document.querySelector('[aria-selected=true]'), text = '';"
        "for (let at = 0; at < 30 && token; at++, token = token.nextSibling) text += token.textContent; return text; }"
    )
    assert following.strip().lower().startswith("a fool hates the horse")


def test_search_for_what_stands_nowhere_says_so(visit: Visit) -> None:
    page = visit("#/data?part=search&q=xylophone")
    page.get_by_text("It stands nowhere in the text.").wait_for()
    page.evaluate("location.hash = '#/data?part=search&q=the'")
    page.locator(".matches li").nth(24).wait_for()
    page.get_by_role("button", name="Search on").dblclick()
    page.locator(".matches li").nth(49).wait_for()
    page.wait_for_timeout(300)  # a second loop would be here by now
    found = page.locator(".matches a").evaluate_all("(links) => links.map((link) => link.href)")
    assert len(found) == len(set(found)) == 50


def test_the_hardest_documents_come_first_or_last(visit: Visit) -> None:
    page = visit("#/data?part=validation")
    losses = "() => [...document.querySelectorAll('main tbody tr')].map((row) => +row.children[1].textContent)"
    page.locator("main tbody tr").first.wait_for()
    hardest = page.evaluate(losses)
    assert len(hardest) >= 2
    assert hardest == sorted(hardest, reverse=True)

    def without_bytes(route: Any) -> None:
        found = route.fetch().json()
        found["documents"][0]["bits_per_byte"] = None
        route.fulfill(json=found)

    page.route("**/api/data/validation*", without_bytes)
    page.get_by_role("button", name="Easiest", exact=True).click()
    page.get_by_role("table", name="Easiest").wait_for()
    assert page.evaluate(losses) == sorted(hardest)
    assert page.locator("main tbody tr").first.locator("td").nth(1).inner_text() == "–"


def test_the_data_card_is_shown_as_a_page(site: Site, visit: Visit) -> None:
    page = visit("#/data?part=card")
    card = page.locator("article.card")
    card.wait_for()
    titles = re.findall(r"^#+ (.*)", (site.data / "data_card.md").read_text("utf-8"), flags=re.M)
    assert card.locator("h2, h3, h4, h5").all_text_contents() == titles
    assert card.locator("table").count() >= 3


@pytest.mark.parametrize("name", ["lost"])
def test_a_data_set_that_is_gone_is_named_with_the_views_that_are_missing(visit: Visit, name: str) -> None:
    page = visit(f"#/data?run={name}", errors=("404",))
    alert = page.get_by_role("alert").filter(has_text="missing")
    alert.wait_for()
    for view in ("documents", "search", "trace"):
        assert view in alert.inner_text()
    page.goto(page.url.split("#")[0] + f"#/write?run={name}&prompt=the king&max_tokens=5")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Go on").wait_for()
