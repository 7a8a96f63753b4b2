"""The view Write in a browser: text streams in, is coloured, branches, is compared and copied."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
from typing import Any

import httpx
import pytest
from serving.conftest import wait_until
from serving.page.conftest import Site, Visit

from gpt_research.cli.command_line import parse

HOSTILE = "<img src=x onerror=alert(1)> the king"


def written(page: Any, name: str = "tiny") -> Any:
    """Write, wait for the end, and return the section of the text."""
    page.get_by_role("button", name="Write", exact=True).click()
    return ended(page, name)


def ended(page: Any, name: str = "tiny") -> Any:
    section = page.get_by_role("region", name=name, exact=True)
    section.get_by_role("button", name="Go on").wait_for()
    return section


def tokens(section: Any) -> list[str]:
    return section.get_by_role("option").all_text_contents()


def complete(site: Site, **asked: Any) -> dict[str, Any]:
    """Ask the API itself, with the page's settings."""
    settings = {"model": "tiny", "max_tokens": 80, "temperature": 0.8, "top_p": 1, "seed": 1, **asked}
    answer = httpx.post(f"{site.server.address}/v1/completions", json=settings, trust_env=False)
    return answer.json()["choices"][0]


def test_text_streams_in_and_is_that_of_the_api(site: Site, visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=600")
    page.evaluate(
        "window.sizes = new Set(); new MutationObserver(() => sizes.add(document.querySelectorAll('.pane .t').length))"
        ".observe(document.querySelector('.pane .strip'), {childList: true})"
    )
    section = written(page)
    assert "".join(tokens(section)) == "the king" + complete(site, prompt="the king", max_tokens=600)["text"]
    assert page.evaluate("sizes.size") > 3, "the text came all at once"
    assert "600 tokens in " in section.locator(".status").inner_text()


def test_each_token_has_the_colour_and_the_words_of_its_chance(site: Site, visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=12&temperature=1")
    section = written(page)
    asked = complete(site, prompt="the king", max_tokens=12, temperature=1, logprobs=1, echo=True)["logprobs"]
    options = section.get_by_role("option")
    assert options.count() == len(asked["tokens"])
    for number, logprob in enumerate(asked["token_logprobs"][1:], 1):
        chance = math.exp(logprob)
        level = next(level for level, least in enumerate((0.5, 0.2, 0.05, 0.01, 0)) if chance >= least)
        assert f"s{level}" in options.nth(number).get_attribute("class").split()
        assert f"{-logprob / math.log(2):.1f} bits" in options.nth(number).get_attribute("aria-label")
    options.nth(2).hover()
    assert "bits of surprise" in page.locator(".token-tip").inner_text()


def test_stop_frees_the_row_and_keeps_what_was_written(site: Site, visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=4000")
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator(".pane .t").nth(8).wait_for()
    assert site.server.batch.in_flight == 1
    page.get_by_role("button", name="Stop").click()
    section = ended(page)
    assert "Stopped." in section.locator(".status").inner_text()
    assert 8 < len(tokens(section)) < 4000
    assert wait_until(lambda: site.server.batch.in_flight == 0)


def test_escape_stops(site: Site, visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=4000")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    page.locator(".pane .t").nth(4).wait_for()
    page.keyboard.press("Escape")
    assert "Stopped." in ended(page).locator(".status").inner_text()


def test_a_click_shows_the_alternatives_of_a_token(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=12")
    section = written(page)
    section.get_by_role("option").nth(6).click()
    panel = page.get_by_role("region", name="Chosen tokens")
    rows = panel.locator(".alternatives li")
    assert rows.count() in (10, 11)
    assert panel.locator(".taken").count() == 1
    shares = [float(text.rstrip("%")) for text in rows.locator(".number").all_text_contents() if text[0].isdigit()]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 101
    section.get_by_role("option").nth(9).click(modifiers=["Shift"])
    assert re.search(r"Tokens 7 to 10 of \d+: .* all together", panel.inner_text())
    page.keyboard.press("Escape")
    assert panel.locator("h2").count() == 0


def test_a_branch_goes_on_from_an_alternative_and_the_first_text_stays(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=20")
    section = written(page)
    first = tokens(section)
    section.get_by_role("option").nth(8).click()
    other = page.locator("button.alternative").first
    taken = other.get_attribute("aria-label")
    other.click()
    section = ended(page)
    second = tokens(section)
    assert second[:8] == first[:8]
    assert second[8] != first[8]
    assert second[8].replace(" ", "␣").replace("\n", "⏎") in taken
    assert len(second) == 9 + 20
    branches = section.get_by_role("navigation").locator("button.branch")
    assert branches.count() == 2
    branches.first.click()
    assert tokens(section) == first
    assert branches.first.get_attribute("aria-current") == "true"
    # The ids of its tokens mean something else to another run.
    page.locator("#pick select").first.select_option("mortal")
    other = page.get_by_role("region", name="mortal", exact=True)
    other.wait_for()
    assert tokens(other) == []
    page.go_back()
    assert tokens(ended(page)) == first


def test_of_many_branches_the_newest_are_kept_with_all_that_they_come_from(visit: Visit) -> None:
    kept = """async ([parent, place]) => {
        const { Branches } = await import("./branches.js");
        const made = new Branches(place);
        for (let at = 0; at < 60; at++) made.add({ parent: at ? parent ?? at : null, at: at && 1, tokens: [{}, {}] });
        made.save();
        const { all, chosen } = new Branches(place);
        return [...all.values()].every((one) => one.parent === null || all.has(one.parent)) && [all.size, chosen];
    }"""
    page = visit()
    assert page.evaluate(kept, [1, "star"]) == [41, 60]
    assert page.evaluate(kept, [None, "chain"]) == [60, 60]


def test_a_branch_of_a_branch_hangs_below_it_and_goes_with_it(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=10")
    section = written(page)
    for place in (6, 9):
        section.get_by_role("option").nth(place).click()
        page.locator("button.alternative").first.click()
        section = ended(page)
    assert section.locator(".branches ul ul ul li").count() == 1
    section.get_by_role("button", name="Remove the branch").nth(1).click()
    assert section.get_by_role("navigation").count() == 0


def test_everything_goes_by_keyboard(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=20")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    section = ended(page)
    before = tokens(section)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.role") == "option":
            break
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "bits of surprise" in page.locator(".token-tip").inner_text()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowLeft")
    assert section.locator("[aria-selected=true]").count() == 2
    page.keyboard.press("Enter")
    assert section.locator("[aria-selected=true]").count() == 1
    page.locator("button.alternative").first.focus()
    page.keyboard.press("Enter")
    assert tokens(ended(page))[: len(before) - 3] == before[:-3]


def test_two_checkpoints_write_side_by_side(site: Site, visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=15&temperature=0")
    page.get_by_label("Compare with").select_option("tiny@6")
    page.get_by_role("region", name="tiny, step 6").wait_for()
    page.get_by_role("button", name="Write", exact=True).click()
    texts = ["".join(tokens(ended(page, name))) for name in ("tiny", "tiny, step 6")]
    for text, model in zip(texts, ("tiny", "tiny@6"), strict=True):
        assert text == "the king" + complete(site, model=model, prompt="the king", max_tokens=15, temperature=0)["text"]
    assert texts[0] != texts[1]
    left, right = (
        page.get_by_role("region", name=name, exact=True).bounding_box() for name in ("tiny", "tiny, step 6")
    )
    assert left["x"] + left["width"] <= right["x"]
    assert left["y"] == right["y"]


def test_the_request_is_copied_in_three_forms_that_work(site: Site, visit: Visit) -> None:
    prompt = '--it\'s "the" king\nand $HOME, true or null'
    page = visit("#/write?max_tokens=12&temperature=0")
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Stop at").fill("zq\\n")
    page.get_by_text("Copy as curl, Python or a command").click()
    expected = complete(site, prompt=prompt, max_tokens=12, temperature=0)["text"]
    code = page.locator(".copy-as code")
    said = subprocess.run(["sh", "-c", code.inner_text()], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["choices"][0]["text"] == expected
    page.get_by_role("button", name="Command line").click()
    _, _, *arguments = shlex.split(code.inner_text())
    command = parse("generate", arguments)
    assert command is not None
    assert (command.prompt, command.max_new_tokens, command.temperature) == (prompt, 12, 0)
    assert command.stop == ["zq\n"]
    page.get_by_role("button", name="Python").click()
    namespace = {"__name__": "copied"}
    pytest.importorskip("openai", reason="the openai client is not installed")
    exec(code.inner_text(), namespace)
    assert namespace["answer"].choices[0].text == expected  # type: ignore[attr-defined]


def test_a_prompt_that_is_markup_is_only_text(visit: Visit) -> None:
    page = visit("#/write?max_tokens=3")
    page.get_by_label("Prompt", exact=True).fill(HOSTILE)
    section = written(page)
    assert "".join(tokens(section)).startswith(HOSTILE)
    assert page.locator("main img").count() == 0


def test_a_text_goes_on_from_its_end(visit: Visit) -> None:
    page = visit("#/write?prompt=the king&max_tokens=10")
    section = written(page)
    first = tokens(section)
    section.get_by_role("button", name="Go on").click()
    page.wait_for_function("count => document.querySelectorAll('.pane .t').length === count", arg=len(first) + 10)
    assert tokens(ended(page))[: len(first)] == first


def test_a_prompt_that_is_too_long_is_refused_in_words(visit: Visit) -> None:
    page = visit("#/write?max_tokens=5", errors=("400",))
    page.get_by_label("Prompt", exact=True).fill("the king gives the crown 1. " * 30)
    page.get_by_role("button", name="Write", exact=True).click()
    said = page.get_by_role("region", name="tiny", exact=True).get_by_role("alert").inner_text()
    assert re.search(r"\d+ tokens", said)
    assert "64" in said


def test_a_token_is_drawn_once_while_text_streams(visit: Visit) -> None:
    """A frame's work does not grow with the text, because what stands on the page is left alone.
    `benchmarks/page_frames.py` measures the frames.
    """
    page = visit("#/write?prompt=the king&max_tokens=900")
    page.evaluate(
        """() => {
            window.drawn = 0; window.frames = 0;
            new MutationObserver((changes) => {
                frames += 1;
                for (const change of changes) {
                    for (const node of change.addedNodes) {
                        if (node.nodeType !== Node.ELEMENT_NODE) continue;
                        drawn += node.matches(".t") + node.querySelectorAll(".t").length;
                    }
                }
            }).observe(document.querySelector("main"), {childList: true, subtree: true});
        }"""
    )
    written(page)
    shown = page.locator(".pane .t").count()
    assert shown > 100
    assert page.evaluate("frames") > 10, "the text came while it was written"
    assert page.evaluate("drawn") <= 1.1 * shown
