"""Pieces of a page, as HTML. Texts are plain, may hold anything, and are escaped here.

`Html` marks what is markup already, so that no text gets into a page without being escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from importlib import resources

VERDICTS = {"better": "good", "worse": "bad", "diverged": "bad"}
"""How a verdict is coloured; its word says it too."""


class Html(str):
    """Markup, which is not escaped again; a text that is added to it is."""

    def __add__(self, other: str) -> Html:
        return Html(str(self) + str(escaped(other)))


def escaped(text: object) -> Html:
    """Return a text as markup; characters that are invisible or turn its direction are replaced."""
    if isinstance(text, Html):
        return text
    kept = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(text))
    return Html(html.escape(kept))


def element(name: str, content: object = "", **attributes: object) -> Html:
    """Return an element. Underscores in the names of attributes stand for hyphens, one at the end
    for nothing; an attribute that is None is left out.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{shown}>{escaped(content)}</{name}>")


def joined(parts: Iterable[object], between: str = "\n") -> Html:
    return Html(between.join(escaped(part) for part in parts))


def paragraph(*parts: object) -> Html:
    return element("p", joined(parts, " "))


def listed(items: Sequence[object]) -> Html:
    return element("ul", joined(element("li", item) for item in items)) if items else Html("")


def code(text: str, label: str) -> Html:
    """Return text to copy, such as a command. It scrolls if it is wide, so the keyboard must reach
    it; `label` says what it is.
    """
    return element("pre", text, tabindex=0, role="group", aria_label=label)


def details(summary: str, content: object, *, printed: bool = False) -> Html:
    """Return content that a reader opens; with `printed`, a printed page shows it."""
    return element("details", element("summary", summary) + escaped(content), class_="printed" if printed else None)


def table(
    caption: str, headings: Sequence[object], rows: Sequence[Sequence[object]], *, texts: Sequence[int] = (0,)
) -> Html:
    """Return a table whose first column names the rows.

    Args:
        texts: numbers of the columns that hold text; the others are aligned to the right.
    """
    kinds = [None if column in texts else "number" for column in range(len(headings))]
    head = joined((element("th", h, scope="col", class_=k) for h, k in zip(headings, kinds, strict=True)), "")
    body = []
    for row in rows:
        first = element("th", row[0], scope="row")
        cells = (element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True))
        body.append(element("tr", joined([first, *cells], "")))
    inside = element("caption", caption) + element("thead", element("tr", head)) + element("tbody", joined(body))
    return scrolling(element("table", inside), caption)


def scrolling(content: Html, label: str) -> Html:
    """Return content that scrolls sideways where the page is narrow; the keyboard reaches it."""
    return element("div", content, class_="wide", tabindex=0, role="group", aria_label=label)


def section(title: str, *content: object) -> Html:
    """Return a section of the page; an empty text if it has no content."""
    parts = [part for part in content if part]
    if not parts:
        return Html("")
    name = anchor(title)
    return element("section", joined([element("h2", title, id=name), *parts]), aria_labelledby=name)


def anchor(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def verdict(text: object) -> Html | str:
    return element("span", text, class_=VERDICTS.get(str(text))) if text else "–"


def page(title: str, lead: object, sections: Sequence[tuple[str, Html]], foot: object) -> str:
    """Return a whole page that asks for nothing from elsewhere.

    Args:
        sections: title and section; those without content are left out.
    """
    style, script = (_file(name) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The browser fetches nothing, and runs nothing but our own script, whatever the texts hold.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    shown = [(name, content) for name, content in sections if content]
    links = joined(element("li", element("a", name, href=f"#{anchor(name)}")) for name, _ in shown)
    body = joined([
        element("header", joined([element("h1", title), lead])),
        element("nav", element("ul", links), aria_label="Sections"),
        element("main", joined(content for _, content in shown)),
        element("footer", foot),
    ])  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _file(name: str) -> str:
    return resources.files("gpt_research.report").joinpath(name).read_text(encoding="utf-8")
