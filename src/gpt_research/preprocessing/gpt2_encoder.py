"""GPT-2's tokenizer with its encoder, built when this is imported.

To build it takes half a second: the process that workers are copies of does it for all of them (`executors`).
"""

import threading

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer

try:
    TOKENIZER = Tokenizer.gpt2()
except UserError as error:  # who asked for it is told elsewhere; that process must go on
    raise ImportError(str(error)) from error
# The encoder is built beside the interpreter, which the workers' compiled loops keep busy meanwhile.
_building = threading.Thread(target=TOKENIZER.encode, args=("",))
_building.start()
import gpt_research.preprocessing.text.kernels  # noqa: E402, F401

_building.join()
