"""The compiled loops of the filters, loaded when one of them is first called, as `text/compiled.py`
does it and for the same reason.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from gpt_research.preprocessing.filters import line_kernels, rule_kernels, word_kernels

    return next(vars(file)[name] for file in (word_kernels, line_kernels, rule_kernels) if name in vars(file))
