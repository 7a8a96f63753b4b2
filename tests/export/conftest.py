"""Small runs to export and a tokenizer trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from export.small_runs import VARIANTS, write_run

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.proof import PASSAGE
from gpt_research.model.gpt import GPT


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A vocabulary of its own, and of a size that needs padding."""
    return Tokenizer.train([PASSAGE] * 3, 330)


@pytest.fixture
def make_run(tmp_path: Path, tokenizer: Tokenizer) -> Callable[[str], tuple[Path, GPT]]:
    """Return a function that writes the run of a variant and returns its folder and model."""

    def make(variant: str = "gpt2") -> tuple[Path, GPT]:
        folder = tmp_path / f"run_{variant}"
        return folder, write_run(folder, VARIANTS[variant], tokenizer)

    return make
