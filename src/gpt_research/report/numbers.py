"""Numbers of a result.json, any of which may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number_of(values: Mapping[str, Any] | None, *path: str) -> float | None:
    """Return a number of the result, by the names that lead to it; None if it is not known."""
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if is_number else None
