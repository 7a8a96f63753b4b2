"""A faster start of worker processes. Nothing here changes what is computed.

A worker that begins as a new Python spends more than a second on imports and on GPT-2's encoder, in
every stage. So workers are copies of one process, which Python calls the fork server, and that
process imports and builds once what all of them need. If the function here did nothing, a run would
write the same bytes, only later.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path

from gpt_research.preprocessing.settings import PreprocessConfig

GPT2 = "gpt_research.preprocessing.warm_gpt2"
"""Builds GPT-2's encoder when it is imported."""
IMPORTS = (
    "gpt_research.preprocessing.stages.index_benchmarks",
    "gpt_research.preprocessing.stages.read",
    "gpt_research.preprocessing.stages.assemble",
    "gpt_research.preprocessing.readers.catalogue",
    "gpt_research.preprocessing.text.kernels",
)
FILTERS = tuple(f"gpt_research.preprocessing.filters.{loops}_kernels" for loops in ("word", "line", "rule"))
"""Compiled loops that only filters need."""


def start_fork_server(config: PreprocessConfig) -> None:
    """Start the fork server unless it runs already, with what the run needs."""
    wanted = [*([GPT2] if config.tokenizer == "gpt2" else []), *IMPORTS, *(FILTERS if config.filters else ())]
    multiprocessing.set_forkserver_preload(wanted)
    # Before Python 3.13 the fork server does not get our sys.path, and in a bare clone only that
    # knows our package.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), before)))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
