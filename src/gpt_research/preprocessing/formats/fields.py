"""The field of a record that holds the text, and its value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gpt_research.preprocessing.document import Drop, MissingTextError

TEXT_KEYS = (
    "text",
    "content",
    "maintext",
    "article text",
    "article",
    "body",
    "message",
    "document",
    "raw content",
    "raw text",
)
"""Names of the field that holds the text, the likelier first, whatever their case and
underscores."""


def find_text_key(names: Iterable[str], wanted: str | None = None) -> str:
    """Return the field that holds the text: the wanted one, else the first of `TEXT_KEYS` among the
    names.

    Raises:
        MissingTextError: no such field; the message lists the names.
    """
    seen = list(names)
    if wanted is not None:
        if wanted in seen:
            return wanted
        raise MissingTextError(f'no "{wanted}" among the keys {_listed(seen)}')
    plain = {name.lower().replace("_", " ").strip(): name for name in reversed(seen)}
    for key in TEXT_KEYS:
        if key in plain:
            return plain[key]
    raise MissingTextError(f"no known text key among the keys {_listed(seen)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names[:20]) or "(none)"


def text_of(value: Any, source: str, position: int) -> str | Drop:
    """Return a field's text with lines that end in "\\n", or a drop if it has none."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            return Drop("invalid_utf8", source, position, str(error), broken=True)
    if value is None:
        return Drop("null_text", source, position, "")
    if not isinstance(value, str):
        return Drop("text_not_a_string", source, position, repr(value)[:80], broken=True)
    if not value or value.isspace():
        return Drop("empty", source, position, "")
    return value.replace("\r\n", "\n") if "\r" in value else value
