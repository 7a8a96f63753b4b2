"""Builds GPT-2's encoder when it is imported; only the fork server imports it (see `warm_up`)."""

import contextlib

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer

# If GPT-2's package is missing, the main process says so.
with contextlib.suppress(UserError):
    Tokenizer.gpt2().encode("")
