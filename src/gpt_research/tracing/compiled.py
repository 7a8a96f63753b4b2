"""The compiled loops of `kernels`, loaded when one of them is first called.

`kernels` imports numba and loads machine code, which takes a second, and a server that imports the
modules that call these loops should start at once. `compiled.merge(...)` is `kernels.merge(...)`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from gpt_research.tracing import kernels

    return getattr(kernels, name)
