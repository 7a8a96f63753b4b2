"""A folder that appears whole or not at all: written beside its place, flushed by its writer, then moved."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from gpt_research.base.errors import UserError


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Give a hidden folder to write into, and move it to `place` at the end; whatever fails leaves nothing.

    Raises:
        UserError: `place` is taken, or the disk refuses.
    """
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError(f"{place} is there already. Name another folder with --out, or remove it first.")
    part = place.with_name(f".{place.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by a run that was killed
        part.mkdir(parents=True)
        yield part
        if place.exists():
            place.rmdir()
        part.rename(place)
    except OSError as error:
        remedy = "Free some space" if error.errno == errno.ENOSPC else "Name another folder with --out"
        raise UserError(f"{place} could not be written ({error.strerror or error}). {remedy}.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
