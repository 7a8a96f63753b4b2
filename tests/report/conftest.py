"""A real browser without a network, for the tests of pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WIDTHS = {"phone": 390, "desktop": 1280}


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file as a page. At the end it holds that no page asked for anything but its file, and
    that none had an error.
    """
    contexts, asked, wrong = [], [], []

    def open_page(path: Path, *, width: str = "desktop", scheme: str = "light", scripts: bool = True) -> Any:
        size = {"width": WIDTHS[width], "height": 900}
        context = chromium.new_context(
            offline=True, viewport=size, color_scheme=scheme, java_script_enabled=scripts, locale="en-US"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        asked.remove(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked == []
    assert wrong == []
