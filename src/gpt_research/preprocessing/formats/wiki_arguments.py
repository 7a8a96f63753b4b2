"""The arguments of a template: `{{name|first|second|key=value}}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

_KEY = re.compile(r"\s*(?:[\w -]{1,30}|\(\))=(?!=)")
_MOST_POSITIONAL = 200
"""A number above this one is the name of an argument, not its place."""


class Arguments:
    """What stands after the name of a template, read as MediaWiki reads it."""

    def __init__(self, text: str) -> None:
        """Take the text after the bar that follows the template's name."""
        self._parts = text.split("|")

    @cached_property
    def _read(self) -> tuple[list[str], dict[str, str]]:
        numbered: dict[int, str] = {}
        named: dict[str, str] = {}
        place = 0
        for part in self._parts:
            if "=" in part and _KEY.match(part):
                key, _, value = part.partition("=")
                key, value = key.strip().lower(), value.strip()
                if key.isdecimal() and 0 < int(key) <= _MOST_POSITIONAL:
                    numbered[int(key)] = value
                elif value:
                    named[key] = value
            else:
                place += 1
                numbered[place] = part
        return [numbered.get(each, "") for each in range(1, max(numbered, default=0) + 1)], named

    @property
    def raw(self) -> list[str]:
        """The arguments without a name (or with a number as name), with their blanks."""
        return self._read[0]

    @property
    def named(self) -> dict[str, str]:
        """The arguments with a name, by the name in small letters; empty ones are left out."""
        return self._read[1]

    @cached_property
    def places(self) -> list[str]:
        """The arguments without a name, stripped; an empty one keeps its place."""
        return [argument.strip() for argument in self.raw]

    @cached_property
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
        return next(iter(self.words), "") or self.value("text", "quote", "content")

    @property
    def last(self) -> str:
        """The last argument without a name."""
        return self.words[-1] if self.words else ""


Renderer = Callable[[Arguments], str]
"""What shows a template, as wikitext; an empty string if it shows no words."""
