"""Errors the user can mend: shown as one sentence, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The user's input, files or machine are at fault; the message says what, where and what to do.

    The command line prints it to standard error and exits with code 2.
    """


def closest(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the known name nearest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{match[0]}"?' if match else ""
