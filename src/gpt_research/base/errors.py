"""Errors that the user can mend. The command line shows one as a sentence, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something is wrong with the user's input, files or machine.

    The message says what is wrong, where, and what to do about it. The command line prints it to
    standard error and exits with code 2.
    """


class NotFiniteError(UserError):
    """A model's numbers hold a nan or an infinity, as after a training that diverged."""


class SharedError(UserError):
    """A mistake that every process of a run raises in the same words; the first one shows it."""


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Raise a `UserError` that names a setting, its value and its rule, unless `condition`
    holds.
    """
    if not condition:
        raise UserError(f"{name} is {value!r}, but it must be {rule}.")


def closest(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the known name nearest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{match[0]}"?' if match else ""


def look_up(table: Mapping[str, T], name: str, setting: str) -> T:
    """Return the entry of a table that a setting names.

    Raises:
        UserError: the table has no such entry; the message lists all entries.
    """
    if name in table:
        return table[name]
    raise UserError(f'{setting} is "{name}", but it must be one of {", ".join(table)}.{closest(name, table)}')


def not_finite(task: str) -> NotFiniteError:
    """Return the error for a model whose output has a nan or an infinity, so that `task` fails.

    Args:
        task: a clause such as "no text can be drawn from it".
    """
    return NotFiniteError(
        f"The model's output is not finite (nan or infinity), so {task}. Its training diverged, or the precision is "
        "too low for it. Take an earlier checkpoint, try --precision fp32, or train again with a lower learning rate."
    )
