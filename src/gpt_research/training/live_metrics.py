"""Reads the numbers of a run again and again while it trains: only what was added is parsed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from gpt_research.training.metrics import METRICS, parse_metrics

TAIL = 512
"""Bytes before the place where reading goes on that must be as they were."""


class LiveMetrics:
    """The lines of a run's metrics.jsonl, as they are now. Several threads may ask."""

    def __init__(self, run: Path) -> None:
        self._path = run / METRICS
        self._lock = threading.Lock()
        self._read, self._tail = 0, b""
        """Bytes of the file that were parsed, and the last of them."""
        self._lines: list[dict[str, Any]] = []

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, without a last line that is not yet whole."""
        with self._lock:
            try:
                with open(self._path, "rb") as file:
                    file.seek(self._read - len(self._tail))
                    if file.read(len(self._tail)) != self._tail:
                        # A run that was resumed has written the file anew.
                        self._begin_again()
                        file.seek(0)
                    added = file.read()
            except OSError:
                self._begin_again()
                return []
            whole = added[: added.rfind(b"\n") + 1]
            self._read, self._tail = self._read + len(whole), (self._tail + whole)[-TAIL:]
            # A list that was returned does not change.
            if whole:
                self._lines = self._lines + parse_metrics(whole.decode("utf-8", "replace"))
            return self._lines

    def _begin_again(self) -> None:
        self._read, self._tail, self._lines = 0, b"", []
