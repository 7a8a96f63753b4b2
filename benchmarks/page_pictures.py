"""Makes the pictures of docs/page.md anew, in a real browser, of a server of the demo's model.

    gpt-research serve runs/demo
    python benchmarks/page_pictures.py http://127.0.0.1:8000

They are written to docs/images, with few colours so that they stay small. tests/serving/page holds
that each of them can be made.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

IMAGES = Path(__file__).parents[1] / "docs" / "images"
TEXT = "ROMEO.\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is the sun!"
TRACED = "But, soft! what light through yonder lattice gleams"
COLOURS = 220
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def write(page: Any) -> None:
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Go on").wait_for()
    page.locator(".strip .t").nth(12).click()
    page.locator("button.alternative").nth(1).click()
    page.get_by_role("button", name="Go on").wait_for()
    page.locator(".strip .t").nth(22).click()


def compare(page: Any) -> None:
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Go on").nth(1).wait_for()


def learnt(page: Any) -> None:
    page.get_by_role("button", name="When learnt").click()


def look_back(page: Any) -> None:
    page.locator(".looks li").first.wait_for()
    page.locator(".strip .t").nth(14).hover()


@dataclass(frozen=True)
class Picture:
    """A place of the page, and what is done there before the picture is taken."""

    address: str
    ready: str
    """What must be seen first."""
    act: Callable[[Any], None] = lambda page: None
    width: int = 1200
    height: int = 900
    scheme: str = "light"


def pictures(earliest: int, last_layer: int, looked_into: str, traced: str) -> dict[str, Picture]:
    """Return all pictures by name.

    Args:
        earliest: step of the first checkpoint.
        last_layer: counted from 0.
        looked_into: a text of at least 15 tokens.
        traced: words of which some stand in the data.
    """
    text, prompt = quote(looked_into), quote("ROMEO.\n")
    return {
        "page-write": Picture(f"#/write?prompt={prompt}&seed=4&max_tokens=70", ".view", write),
        "page-compare": Picture(
            f"#/write?prompt={prompt}&seed=4&max_tokens=60&compare=RUN@{earliest}", ".view", compare, scheme="dark"
        ),
        "page-attention": Picture(f"#/inside?text={text}", ".strip .t", look_back, height=1120),
        "page-layers": Picture(f"#/inside?text={text}&part=lens", ".lens-detail p", scheme="dark", height=1000),
        "page-off": Picture(f"#/inside?text={text}&part=off&off=h{last_layer}.0,m1", ".switches h2", height=1000),
        "page-training": Picture(f"#/training?text={text}", ".heat", learnt),
        "page-trace": Picture(f"#/trace?q={quote(traced)}", ".matches li"),
        "page-phone": Picture(f"#/write?prompt={prompt}&seed=4&max_tokens=40", ".view", write, 360, 900, "dark"),
    }


def take(browser: Any, address: str, folder: Path, text: str = TEXT, traced: str = TRACED) -> list[Path]:
    """Take all pictures of a server; return their files."""
    made = []
    run = browser.new_page().request.get(f"{address}/api/runs").json()["runs"][0]
    for name, picture in pictures(run["checkpoints"][0]["step"], run["shape"]["n_layer"] - 1, text, traced).items():
        size = {"width": picture.width, "height": picture.height}
        context = browser.new_context(viewport=size, color_scheme=picture.scheme, reduced_motion="reduce")
        page = context.new_page()
        page.goto(f"{address}/{picture.address.replace('RUN', run['name'])}")
        page.locator(picture.ready).first.wait_for()
        picture.act(page)
        if picture.act is not look_back:
            page.mouse.move(0, 0)
        page.wait_for_load_state("networkidle")
        made.append(folder / f"{name}.png")
        made[-1].write_bytes(in_few_colours(page.screenshot()))
        context.close()
    return made


def in_few_colours(png: bytes) -> bytes:
    from PIL import Image

    small = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield a running browser."""
    from playwright.sync_api import sync_playwright

    path = next(found for name in BROWSERS if (found := shutil.which(name)))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def main() -> None:
    with chromium() as browser:
        for made in take(browser, sys.argv[1].rstrip("/"), IMAGES):
            print(f"{made}: {made.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
