"""The filters by name, and how a user chooses them.

`--filters gopher_quality,c4(min_num_sentences=3)` filters every corpus, and `--filters.NAME ...`
one corpus; YAML may have lists and mappings in place of the commas and brackets.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from gpt_research.base.errors import UserError, closest
from gpt_research.base.files import file_sha256
from gpt_research.preprocessing.filters.bad_words import BadWords
from gpt_research.preprocessing.filters.c4 import C4
from gpt_research.preprocessing.filters.filter import Filter
from gpt_research.preprocessing.filters.fineweb import FineWeb
from gpt_research.preprocessing.filters.gopher_quality import GopherQuality
from gpt_research.preprocessing.filters.gopher_repetition import GopherRepetition
from gpt_research.preprocessing.filters.language import Language

FILTERS: dict[str, Callable[..., Filter]] = {
    "gopher_quality": GopherQuality,
    "gopher_repetition": GopherRepetition,
    "c4": C4,
    "fineweb": FineWeb,
    "bad_words": BadWords,
    "language": Language,
}
"""Filters by their names on the command line. A plugin adds `FILTERS["mine"] = MyFilter`."""

Choice = str | Sequence[Any] | Mapping[str, Any]
"""The filters of a corpus: "c4,fineweb", or a list of names and of {name: settings}, or such a
mapping alone."""
_STEP = re.compile(r"\s*([\w.-]+)\s*(?:\((.*)\))?\s*", re.S)
_COMMA = re.compile(r""",(?=(?:[^"]*"[^"]*")*[^"]*$)(?![^(]*\))""")
_INNER_COMMA = re.compile(r""",(?=(?:[^"]*"[^"]*")*[^"]*$)""")


def chosen_filters(choice: str | Sequence[Any] | Mapping[str, Choice], first: str, corpora: Collection[str]) -> Any:
    """Return the user's choice in the one form in which a data set records it.

    Args:
        choice: the filters of all corpora, or of each that is named.
        first: a filter that each corpus has before its others, or an empty text.

    Returns:
        "language(keep=en),c4" for all corpora, or the same for each corpus by its name; an empty
        text for no filters. Settings that are the default are left out.

    Raises:
        UserError: an unknown filter, setting or corpus, or a value that a filter does not take.
    """
    if not isinstance(choice, Mapping):
        return ",".join(_canonical(_steps(choice, first)))
    for name in choice:
        if name not in corpora:
            hint = " Write the settings of a filter as a list: filters: [{NAME: {...}}]." if name in FILTERS else ""
            raise UserError(f'filters names the corpus "{name}", which there is not.{closest(name, corpora)} '
                            f"Corpora: {', '.join(corpora)}.{hint}")  # fmt: skip
    each = {name: ",".join(_canonical(_steps(choice.get(name, ""), first))) for name in corpora}
    each = {name: filters for name, filters in each.items() if filters}
    return each or ""


def chosen_for(options: Mapping[str, Any], corpus: str) -> list[tuple[str, Filter]]:
    """Return names and filters of a corpus, in the order in which they are applied.

    Args:
        options: of a `JobPlan`; `filters` among them is of `chosen_filters`.
    """
    recorded = options.get("filters", "")
    choice = recorded if isinstance(recorded, str) else recorded.get(corpus, "")
    return [(name, _filter(name, settings)) for name, settings in _steps(choice, "")]


def files_of(recorded: str | Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file that a filter reads, such as a list of words, by its path."""
    files = {}
    for choice in [recorded] if isinstance(recorded, str) else recorded.values():
        for name, settings in _steps(choice, ""):
            for field in getattr(FILTERS[name], "FILES", ()):
                if path := settings.get(field):
                    files[str(path)] = file_sha256(Path(path))
    return files


def _steps(choice: Choice, first: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and settings of each filter that a user chose."""
    pieces = _COMMA.split(choice) if isinstance(choice, str) else [choice] if isinstance(choice, Mapping) else choice
    for piece in [first, *pieces]:
        if isinstance(piece, Mapping):
            for name, settings in piece.items():
                yield _known(name), dict(settings or {})
        elif str(piece).strip():
            yield _parsed(str(piece))


def _parsed(step: str) -> tuple[str, dict[str, Any]]:
    """Return name and settings of "c4" or "c4(min_num_sentences=3)"."""
    match = _STEP.fullmatch(step)
    if not match:
        raise UserError(f'filters has "{step}", but a filter is written as c4 or c4(min_num_sentences=3).')
    name, settings = _known(match[1]), {}
    for setting in _INNER_COMMA.split(match[2] or ""):
        key, equals, value = setting.partition("=")
        if setting.strip() and not equals:
            raise UserError(f'filters: {name} has "{setting.strip()}", but a setting is written as NAME=VALUE.')
        if equals:
            is_text = get_type_hints(FILTERS[name]).get(key.strip()) is str and not value.strip().startswith('"')
            settings[key.strip()] = value.strip() if is_text else yaml.safe_load(value)
    return name, settings


def _known(name: str) -> str:
    if name not in FILTERS:
        raise UserError(f'There is no filter "{name}".{closest(name, FILTERS)} Filters: {", ".join(FILTERS)}.')
    return name


def _filter(name: str, settings: Mapping[str, Any]) -> Filter:
    """Build a filter; raise UserError for a setting that it does not have or take."""
    kind = FILTERS[name]
    types = get_type_hints(kind) if isinstance(kind, type) else {}
    fields = [field.name for field in _fields(kind)]
    for key, value in settings.items():
        if key not in fields:
            raise UserError(f'{name} has no setting "{key}".{closest(key, fields)} '
                            f"It has {', '.join(fields) or 'none'}.")  # fmt: skip
        wanted = types[key]
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and wanted is not bool):
            rule = {int: "a whole number", float: "a number", bool: "true or false"}.get(wanted, "a text")
            raise UserError(f"{name}: {key} is {value!r}, but it must be {rule}.")
        if isinstance(value, int | float) and value < 0:
            raise UserError(f"{name}: {key} is {value!r}, but it must be 0 (no such rule) or more.")
    return kind(**settings)


def _fields(kind: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()


def _canonical(steps: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    for name, settings in steps:
        kind, built = FILTERS[name], _filter(name, settings)
        changed = [
            f"{field.name}={_written(getattr(built, field.name))}"
            for field in _fields(kind)
            if field.init and getattr(built, field.name) != field.default
        ]
        yield f"{name}({','.join(changed)})" if changed else name


def _written(value: Any) -> str:
    """Write a value as `_parsed` reads it."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./-]+", value) and yaml.safe_load(value) == value else json.dumps(value)
    return json.dumps(value)
