"""A folder that appears whole or not at all, in words for the user."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.base.files import part_path, written_whole


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, and move it to `path` when the block succeeds; else remove it.

    Raises:
        UserError: `path` is taken, or the disk refuses.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} is there already. Name another folder with --out, or remove it first.")
    try:
        shutil.rmtree(part_path(path), ignore_errors=True)  # left by a process that was killed
        with written_whole(path) as part:
            part.mkdir(parents=True)
            yield part
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error, flag="--out") from None
