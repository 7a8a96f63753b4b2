"""The view Trace in a browser: words, the documents they stand in, and the steps that read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from serving.page.conftest import Site, Visit


@pytest.fixture(scope="module")
def sentence(text_folder: Path) -> tuple[str, str]:
    """A sentence with its number that stands in one document alone, and the document's name."""
    for path in sorted(text_folder.iterdir()):
        for line in path.read_text("utf-8").split("\n")[4:-4]:
            if sum(line in other.read_text("utf-8") for other in text_folder.iterdir()) == 1:
                return line, path.name
    raise AssertionError


def test_a_sentence_is_found_with_its_document_and_the_steps_that_read_it(
    site: Site, visit: Visit, sentence: tuple[str, str]
) -> None:
    page = visit("#/trace")
    page.get_by_label("Text", exact=True).fill(sentence[0])
    page.get_by_role("button", name="Trace", exact=True).click()
    page.get_by_text("The whole text stands in the training data.").wait_for()
    place = page.locator(".matches li").first
    assert sentence[1] in place.inner_text()
    assert re.search(r"Read whole at steps? \d+", place.inner_text())
    page.get_by_role("heading", name="Its loss at each checkpoint").wait_for()
    place.get_by_role("link").first.click()
    page.locator(".strip [aria-selected=true]").wait_for()


def test_words_of_any_text_are_traced_by_a_click(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=10&temperature=0")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Go on").wait_for()
    options = page.locator(".strip .t")
    options.nth(1).click()
    options.nth(4).click(modifiers=["Shift"])
    words = "".join(options.all_text_contents()[1:5])
    page.get_by_role("button", name="Trace these words").click()
    page.get_by_role("button", name="Trace", exact=True).wait_for()
    assert page.get_by_label("Text", exact=True).input_value() == words
    page.locator(".spans button").first.wait_for()
    page.go_back()
    page.get_by_role("button", name="Go on").wait_for()


def test_the_longest_pieces_of_a_mixed_text_are_found(visit: Visit, sentence: tuple[str, str]) -> None:
    text = f"😀😀{sentence[0]}~~{sentence[0]}"
    page = visit(f"#/trace?q={text}")
    pieces = page.locator(".spans button")
    pieces.nth(1).wait_for()
    assert "The longest piece that stands in the training data has" in page.locator(".lead").inner_text()
    page.route("**/api/trace/losses", lambda route: None)
    pieces.nth(1).click()
    assert pieces.nth(1).get_attribute("aria-pressed") == "true"
    mark = page.locator(".traced mark").first.inner_text()
    assert mark.strip() == page.locator("h2 q").inner_text()
    assert mark in text
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/losses")):
        pieces.first.click()  # the checkpoints are no longer asked about the other one


def test_without_an_index_the_page_names_the_command_that_makes_it(visit: Visit) -> None:
    page = visit("#/trace?run=unindexed", errors=("404",))
    alert: Any = page.get_by_role("alert").filter(has_text="index")
    alert.wait_for()
    assert "gpt_research index" in alert.inner_text().replace("-", "_")
    page.get_by_label("Text", exact=True).fill("the king loves")
    page.get_by_role("button", name="Trace", exact=True).click()
    page.get_by_role("alert").filter(has_text="index").wait_for()
