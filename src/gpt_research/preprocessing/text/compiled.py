"""The compiled loops of `kernels`, loaded when one of them is first called.

`kernels` imports numba and loads machine code, which takes half a second. The process that plans
the work imports the modules that call these loops, but never calls one, so it should not wait for
them. This module imports late for this reason, as `formats.bz2_blocks` does:
`compiled.hash_words(...)` is `kernels.hash_words(...)`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from gpt_research.preprocessing.text import kernels

    return getattr(kernels, name)
