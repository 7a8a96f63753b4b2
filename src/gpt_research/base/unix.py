"""Refuses Windows with a sentence, before a module that it lacks ends in a traceback."""

from __future__ import annotations

import sys

REFUSAL = (
    "This program needs Linux or macOS, because it locks files and stops processes as they do. On Windows it runs in "
    "WSL2, with the GPU too: wsl --install -d Ubuntu, and then docs/platforms.md."
)


def is_missing() -> bool:
    """Return whether this is Windows, or another system without the locks of Unix."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return True
    return sys.platform == "win32"
