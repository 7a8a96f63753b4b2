"""Builds GPT-2's encoder when it is imported; only the fork server imports it (see `warm_up`).

The encoder is built in a thread while this one loads the compiled loops. Both take half a second,
and the encoder's package does not hold the interpreter meanwhile.
"""

import contextlib
import threading

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer

# If GPT-2's package is missing, the main process says so.
with contextlib.suppress(UserError):
    building = threading.Thread(target=Tokenizer.gpt2().encode, args=("",))
    building.start()
    import gpt_research.preprocessing.text.kernels  # noqa: F401

    building.join()
