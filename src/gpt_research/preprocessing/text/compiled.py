"""The compiled loops of `kernels`, loaded when one of them is first called.

`kernels` imports numba and loads machine code, which takes half a second of a processor. The process that only plans
the work imports the modules which call these loops and never calls one, so it would pay for nothing. This module is
the one place that imports late for that reason: `compiled.hash_words(...)` is `kernels.hash_words(...)`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from gpt_research.preprocessing.text import kernels

    return getattr(kernels, name)
