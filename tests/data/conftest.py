"""Two tokenizers that several tests share."""

from __future__ import annotations

import pytest
from hard_texts import HARD_TEXTS

from gpt_research.data.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    return Tokenizer.gpt2()


@pytest.fixture(scope="session")
def own() -> Tokenizer:
    """A small vocabulary of our own, trained on the hard texts and some English."""
    return Tokenizer.train([*HARD_TEXTS, "the cat sat on the mat and then they thought that this is it. " * 9], 600)
