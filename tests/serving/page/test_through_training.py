"""The view Through training in a browser: a text at each checkpoint, samples, curves that grow."""

from __future__ import annotations

import math
import re
from typing import Any

import httpx
import pytest
from serving.page.conftest import STEPS, Site, Visit

TEXT = "the king loves the crown 12."
CURVES = "[aria-label='Curves of the run']"


def losses(site: Site) -> dict[str, Any]:
    asked = {"run": "tiny", "text": TEXT}
    answer = httpx.post(f"{site.server.address}/api/through/losses", json=asked, trust_env=False, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def followed(visit: Visit, **more: Any) -> Any:
    page = visit(f"#/training?text={TEXT}", **more)
    page.locator(".strip .t").nth(5).wait_for()
    return page


def test_the_slider_shows_the_same_text_at_every_checkpoint(site: Site, visit: Visit) -> None:
    page = followed(visit)
    found = losses(site)
    assert found["steps"] == STEPS
    slider = page.get_by_role("slider", name="Checkpoint")
    slider.focus()
    page.keyboard.press("Home")
    seen = []
    for number in range(len(STEPS)):
        assert slider.get_attribute("aria-valuetext") == f"step {STEPS[number]}"
        seen.append(page.locator(".strip .t").nth(4).get_attribute("aria-label"))
        assert f"{found['surprise'][number][4] / math.log(2):.1f} bits" in seen[-1]
        page.keyboard.press("ArrowRight")
    assert len(set(seen)) > 3, "the text looks the same at every checkpoint"
    assert f"at={STEPS[-1]}" in page.url


def test_play_goes_from_the_first_checkpoint_to_the_last(visit: Visit) -> None:
    page = followed(visit)
    page.clock.install()
    page.get_by_role("button", name="Play", exact=True).click()
    slider = page.get_by_role("slider", name="Checkpoint")
    assert slider.input_value() == "0"
    page.clock.run_for(1500)
    assert slider.input_value() == "2"
    page.clock.run_for(8000)
    assert slider.input_value() == str(len(STEPS) - 1)
    assert page.get_by_role("button", name="Play", exact=True).is_visible()


def test_it_says_when_each_token_was_learnt(site: Site, visit: Visit) -> None:
    page = followed(visit)
    page.get_by_role("button", name="When learnt").click()
    options = page.locator(".strip .t")
    for number, learnt in enumerate(losses(site)["learnt"][1:], 1):
        words = options.nth(number).get_attribute("aria-label")
        assert (f"learnt at step {learnt['step']}," if learnt else "not learnt") in words
    options.nth(3).click()
    page.get_by_role("heading", name="Surprise of").wait_for()


def test_a_text_of_the_training_language_is_learnt(visit: Visit) -> None:
    page = followed(visit)
    said = page.get_by_text("The text as a whole was learnt by step").inner_text()
    assert float(re.search(r"won ([\d.]+) nats", said)[1]) > 0.5  # type: ignore[index]


def test_of_many_checkpoints_a_hundred_are_followed(site: Site, visit: Visit) -> None:
    page = visit()
    asked = []

    def runs(route: Any) -> None:
        found = route.fetch().json()
        one = found["runs"][0]["checkpoints"][0]
        found["runs"][0]["checkpoints"] = [one | {"step": step} for step in range(1, 251)]
        route.fulfill(json=found)

    def answer(route: Any) -> None:
        asked.append(route.request.post_data_json["steps"])
        route.fulfill(json=answers)

    answers = losses(site)
    page.route("**/api/runs", runs)
    page.route("**/api/through/losses", answer)
    page.evaluate(f"location.hash = '#/training?text={TEXT}'")
    page.reload()
    page.get_by_text("150 checkpoints between these are left out").wait_for()
    assert (len(asked[-1]), asked[-1][0], asked[-1][-1]) == (100, 1, 250)
    assert [step for steps in asked[-26:-1] for step in steps] == asked[-1]


def test_samples_are_written_at_each_checkpoint(visit: Visit) -> None:
    page = visit("#/training")
    page.get_by_label("Prompt", exact=True).fill("the king")
    page.get_by_role("button", name="Write at each").click()
    samples = page.locator(".samples li")
    samples.nth(4).wait_for()
    assert [samples.nth(number).locator("h3").inner_text() for number in (0, 4)] == ["Step 6", "Step 60"]
    assert all("the king" in text for text in samples.locator("pre").all_text_contents())


def test_the_curves_of_the_run_are_drawn(visit: Visit) -> None:
    page = visit("#/training")
    figures = page.locator(f"{CURVES} figure.chart")
    figures.nth(3).wait_for()
    assert figures.locator("h3").all_text_contents() == [
        "Loss", "Learning rate", "Gradient norm", "Speed", "Validation of each corpus",
    ]  # fmt: skip
    assert "Finished · step 60 of 60" in page.locator(".summary").inner_text()


@pytest.mark.usefixtures("going_on")
def test_the_curves_of_a_run_that_trains_grow_while_one_looks(visit: Visit) -> None:
    page = visit("#/training?run=live")
    page.locator(f"{CURVES} figure.chart").first.wait_for()
    assert "Training now" in page.locator(".summary").inner_text()
    assert page.locator(".top .live").inner_text() == "training now"
    step = "() => +document.querySelector('.summary').textContent.match(/step ([\\d,]+)/)[1].replace(',', '')"
    row = f"{CURVES} tbody tr:last-child th"
    last = f'() => +document.querySelector("{row}").textContent.replace(",", "")'
    before, drawn = page.evaluate(step), page.evaluate(last)
    page.wait_for_function(f"before => ({step})() > before", arg=before)
    page.wait_for_function(f"before => ({last})() > before", arg=drawn)
