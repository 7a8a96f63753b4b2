"""The words that a template of Wikipedia shows in running text; most templates show none.

`shown_text` knows the templates that stand for words: quantities, prices and dates, quotations,
foreign words, lists, signs. For all others, from infoboxes to maintenance notices, it returns an
empty string. Its argument is the text between the innermost braces.

`words`, `works`, `quantities`, `dates`, `languages` and `lists` beside this file have a table
`TEMPLATES` each: names, and the function that shows them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from gpt_research.preprocessing.formats.wiki import dates, languages, lists, quantities, words, works
from gpt_research.preprocessing.formats.wiki.arguments import Arguments, Renderer
from gpt_research.preprocessing.formats.wiki.names import COUNTRIES, ELEMENTS, LANGUAGES
from gpt_research.preprocessing.formats.wiki.signs import BARE_SIGNS, OPENINGS, SIGNS


def _key(name: str) -> str:
    """Return a name without what authors write in many ways: capitals, blanks, hyphens."""
    return name.lower().translate(_NO_BLANKS) if len(name) > 2 else name.lower()


_NO_BLANKS = str.maketrans("", "", " _-,")


_RENDERERS = {
    **{_key(prefix): renderer for prefix, renderer in words.SHIPS.items() if len(prefix) > 2},
    **{
        _key(name): renderer
        for module in (words, works, quantities, dates, languages, lists)
        for names, renderer in module.TEMPLATES
        for name in re.split(r",\s+", names)
    },
}
_CASES: dict[str, Callable[[str], str]] = {
    "formatnum": quantities.grouped,
    "lc": str.lower,
    "uc": str.upper,
    "ucfirst": lambda text: text[:1].upper() + text[1:],
    "lcfirst": lambda text: text[:1].lower() + text[1:],
}
_COMPUTED = frozenset(("#expr", "#time", "#ifexpr", "#invoke", "#property", "#statements"))
_LONGEST_NAME = 80
_OF_TODAY = re.compile(r"(?:current|local)(?:year|month|day|time|week|dow)\w*|numberof\w+")


@lru_cache(maxsize=4096)
def _renderer(name: str) -> Renderer | None:
    """Return what shows the template of this name, if it shows words."""
    key = _key(name)
    if render := words.SHIPS.get(name) or _RENDERERS.get(key):
        return render
    if key.startswith("script/") or key.endswith("span"):
        return lambda given: given.first
    if key.startswith("lang") and (render := languages.named_in_template(name.lower())):
        return render
    if price := quantities.price_of(name):
        return price
    if opening := OPENINGS.get(name.lower()):
        return lambda given: opening.format(given.first)
    if sign := SIGNS.get(name.lower()):
        return lambda given: sign
    return None


@lru_cache(maxsize=4096)
def _without_arguments(name: str) -> str:
    """Return what `{{name}}` shows."""
    small = name.lower()
    if sign := BARE_SIGNS.get(small) or SIGNS.get(small):
        return sign
    if shown := COUNTRIES.get(name) or ELEMENTS.get(name[:1].upper() + name[1:]):
        return shown
    if small.endswith(" icon") and (language := LANGUAGES.get(small.removesuffix(" icon"))):
        return f"(in {language})"
    if _OF_TODAY.fullmatch(small):
        return quantities.UNKNOWN
    if re.fullmatch(r"\d/\d{1,2}", name):
        return name
    return (quantities.symbol_of(name) or "").strip()


def shown_text(body: str) -> str:
    """Return the words that the template `{{body}}` shows, or an empty string."""
    name, bar, rest = body.partition("|")
    name = name.strip().replace("_", " ")
    function, colon, argument = name.partition(":")
    if colon and function.lower() in _CASES:
        return _CASES[function.lower()](argument.strip())
    if function in _COMPUTED:
        return quantities.UNKNOWN
    if len(name) > _LONGEST_NAME:
        return ""
    if not bar:
        return _without_arguments(name)
    render = _renderer(name)
    return render(Arguments(rest)) if render else ""
