"""The arguments of a template: `{{name|first|second|key=value}}`."""

from __future__ import annotations

import re
from collections.abc import Callable

_KEY = re.compile(r"\s*(?:[\w -]{1,30}|\(\))=(?!=)")
_MOST_POSITIONAL = 200
"""A number above this one is the name of an argument, not its place."""


class Arguments:
    """What stands after the name of a template, read as MediaWiki reads it."""

    __slots__ = ("named", "places", "raw")

    def __init__(self, text: str) -> None:
        """Take the text after the bar that follows the template's name."""
        named: dict[str, str] = {}
        raw: list[str] = []
        numbered: dict[int, str] = {}
        for part in text.split("|"):
            if "=" not in part or not _KEY.match(part):
                raw.append(part)
                continue
            key, _, value = part.partition("=")
            key, value = key.strip().lower(), value.strip()
            if key.isdecimal() and 0 < int(key) <= _MOST_POSITIONAL:
                numbered[int(key)] = value
            elif value:
                named[key] = value
        if numbered:
            raw += [""] * (max(numbered) - len(raw))
            for place, value in numbered.items():
                raw[place - 1] = value
        self.raw = raw
        """The arguments without a name (or with a number as name), with their blanks."""
        self.named = named
        """The arguments with a name, by the name in small letters; empty ones are left out."""
        self.places = [argument.strip() for argument in raw]
        """The arguments without a name, stripped; an empty one keeps its place."""

    @property
    def words(self) -> list[str]:
        """The arguments without a name, stripped, without empty ones."""
        return [argument for argument in self.places if argument]

    def at(self, place: int) -> str:
        """Return the argument at a place, counted from 0; an empty string if there is none."""
        return self.places[place] if place < len(self.places) else ""

    def value(self, *names: str) -> str:
        """Return the first of these named arguments that has a value, or an empty string."""
        named = self.named
        for name in names:
            if name in named:
                return named[name]
        return ""

    @property
    def first(self) -> str:
        """The first argument: without a name, as `1=words`, or as `text=words`."""
        for argument in self.places:
            if argument:
                return argument
        return self.value("text", "quote", "content")

    @property
    def last(self) -> str:
        """The last argument without a name."""
        words = self.words
        return words[-1] if words else ""


Renderer = Callable[[Arguments], str]
"""What shows a template, as wikitext; an empty string if it shows no words."""
