"""Warnings of a run with several processes: what rank 0 says, no other rank says again.

Rank 0 shows a warning at once. Another rank holds it back until it is known whether rank 0 had it
too. This module keeps them, and `ranks` compares.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from dataclasses import dataclass, field
from typing import TextIO


@dataclass(frozen=True)
class Held:
    """A warning that the ranks have not compared yet."""

    text: str
    at: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str:
        """The same for warnings that differ in numbers alone, such as a rank or a process id."""
        return hashlib.sha256(re.sub(r"\d+", "#", self.text).encode()).hexdigest()[:16]


HELD: list[Held] = []


def hold_back() -> None:
    """From now on keep each warning, and show it only on rank 0; without other ranks, change
    nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    show = warnings.showwarning

    def keep(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        HELD.append(Held(str(message)))
        if os.environ.get("RANK", "0") == "0":
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = keep
