"""What the tests of tracing know of a run that has read sentences no other document has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Planted:
    """A trained run and what went into it."""

    run: Path
    data: Path
    sentences: dict[str, str]
    """The file of each sentence."""
    rows: dict[tuple[int, int], np.ndarray]
    """The sequence that each step and row read."""
