"""The texts that clients send."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from gpt_research.data.tokenizer import without_surrogates

WHOLE = AfterValidator(without_surrogates)
"""Makes half a character into U+FFFD, as tokenizers do: JSON can ask for one, and no answer can
hold it, because UTF-8 has none. It stands behind the limits of a field, because it comes after."""
WholeText = Annotated[str, WHOLE]
"""A text as its tokens stand for it."""
