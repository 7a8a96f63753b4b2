"""What the user reads if the disk refuses a file: its name, the reason, the remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from gpt_research.base.errors import UserError

ELSEWHERE = "name another place"
REMEDIES = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Your quota is used up: free some space",
    errno.EROFS: "That disk is read-only: name another place",
    errno.EACCES: "You may not write there: change the permissions, or name another place",
    errno.EPERM: "You may not write there: change the permissions, or name another place",
    errno.EFBIG: "Files may not grow that large here: raise the limit (ulimit -f), or name another place",
    errno.EIO: "The disk has a fault: name another place",
    errno.ENOTDIR: "A file is where a folder should be: name another place",
    errno.EISDIR: "A folder is where the file should be: name another place",
    errno.EEXIST: "A file is where a folder should be: name another place",
    errno.ENAMETOOLONG: "A name is too long: name another place",
    errno.ESTALE: "The network disk has lost it: mount it again",
}
"""What a user does if the system refuses to write, by the error's number."""


def is_of_the_disk(error: OSError) -> bool:
    """Return True if an error says that the disk refuses, which is no fault of the program."""
    return error.errno in REMEDIES or "No usable temporary directory" in str(error)


@contextlib.contextmanager
def dispensable(path: Path) -> Iterator[None]:
    """Write a file in the block that a run can do without; warn once if the disk refuses it.

    A run has computed for hours, and its next checkpoint may find room again.
    """
    try:
        yield
    except OSError as error:
        refused = as_os_error(error)
        remedy = REMEDIES.get(refused.errno or 0, "Look at the folder")
        warnings.warn(
            f"{path} could not be written ({refused.strerror or refused}). {remedy}; the run goes on without it.",
            stacklevel=3,
        )


def cannot_write(path: Path | str, error: Exception, *, flag: str = "", then: str = "start again") -> UserError:
    """Return the error for the user if `path` cannot be written.

    Args:
        error: an OSError, or another library's error that says the same.
        flag: the flag that names another place, such as --out.
        then: what to do after the remedy.
    """
    refused = as_os_error(error)
    reason = refused.strerror or str(refused)
    remedy = REMEDIES.get(refused.errno or 0, "Look at the folder, or name another place")
    if "No usable temporary directory" in reason:
        path, reason, remedy = "A temporary file", "no folder takes one", "Free some space in /tmp, or set TMPDIR"
    if flag and ELSEWHERE not in remedy:
        remedy += f" or {ELSEWHERE}"
    if flag:
        remedy = remedy.replace(ELSEWHERE, f"{ELSEWHERE} with {flag}")
    return UserError(f"{path} could not be written ({reason}). {remedy}, and {then}.")


def as_os_error(error: Exception) -> OSError:
    """Return the OSError that another library's error stands for, as far as its text tells."""
    if isinstance(error, OSError) and error.errno:
        return error
    text = str(error)
    number = re.search(r"(?i)(?:os error|errno) (\d+)", text)
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    # numpy says how much it wrote, and not why no more: the disk is full.
    if re.search(r"\d+ requested and \d+ written", text):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(0, text or repr(error))
