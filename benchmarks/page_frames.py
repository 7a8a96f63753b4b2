"""How many frames a second does the page draw while text streams into it?

    gpt-research serve runs/demo
    python benchmarks/page_frames.py http://127.0.0.1:8000 [--tokens 600] [--rounds 3]

A real browser without a screen visits the view Write and asks for text. `requestAnimationFrame`
says when each frame is drawn, from the first token to the last; the browser draws 60 a second at
most. The same is measured for as long with the finished text at rest, which shows what this machine
gives now. Server, browser and all else share its cores.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from typing import Any

from page_pictures import chromium

FRAME_MS = 1000 / 60
WATCH = """
() => {
    window.frames_at = [];
    const next = (now) => { window.frames_at.push(now); window.watched = requestAnimationFrame(next); };
    window.watched = requestAnimationFrame(next);
}
"""
END = "() => { cancelAnimationFrame(window.watched); return window.frames_at; }"


def described(gaps: list[float]) -> str:
    """Return a line about the milliseconds between frames, of all rounds."""
    late = sum(gap > 1.5 * FRAME_MS for gap in gaps)
    ordered = sorted(gaps)
    return (
        f"{1000 * len(gaps) / sum(gaps):5.1f} frames/s, median {statistics.median(gaps):.1f} ms, "
        f"99th percentile {ordered[int(0.99 * len(ordered))]:.1f} ms, slowest {ordered[-1]:.1f} ms, "
        f"{100 * late / len(gaps):.1f}% late, of {len(gaps):,}"
    )


def gaps_of(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def measure(page: Any, address: str, tokens: int, seed: int) -> tuple[list[float], list[float], float]:
    """Return the gaps while a text streams and while it stands there, and the tokens a second."""
    page.goto(f"{address}/#/write?prompt=ROMEO.&max_tokens={tokens}&seed={seed}")
    page.reload()  # another address behind the # is no new page
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator(".strip .t").nth(4).wait_for()
    page.evaluate(WATCH)
    page.get_by_role("button", name="Go on").wait_for()
    streaming = page.evaluate(END)
    written = page.locator(".strip .t").count()
    seconds = (streaming[-1] - streaming[0]) / 1000
    page.evaluate(WATCH)
    page.wait_for_timeout(1000 * seconds)
    return gaps_of(streaming), gaps_of(page.evaluate(END)), written / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    streaming: list[float] = []
    at_rest: list[float] = []
    rates = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        for seed in range(given.rounds + 1):
            moving, still, rate = measure(page, given.address.rstrip("/"), given.tokens, seed)
            if seed:  # the first round warms up
                streaming += moving
                at_rest += still
                rates.append(rate)
    print(f"streaming, {statistics.median(rates):,.0f} tokens/s: {described(streaming)}")
    print(f"at rest:   {described(at_rest)}")


if __name__ == "__main__":
    main()
