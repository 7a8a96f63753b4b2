"""Compiles loops to machine code with numba, and keeps that on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what compiles a loop for arguments of these types when its module is imported."""

    def compile_loop(loop: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(signature, cache=True)(loop)
        except RuntimeError:  # no folder can keep the machine code, so it is compiled at each start
            return njit(signature)(loop)

    return compile_loop
