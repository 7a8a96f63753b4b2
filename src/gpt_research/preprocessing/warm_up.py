"""A faster start of worker processes. Nothing here changes what is computed.

A worker that begins as a new Python spends more than a second on imports and on GPT-2's encoder, in
every stage. So workers are copies of one process, which Python calls the fork server, and that
process imports and builds once what all of them need. If the function here did nothing, a run would
write the same bytes, only later.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.warm_end import PARENT

END = "gpt_research.preprocessing.warm_end"
"""Makes the fork server end with this process when it is imported."""
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
    encoder = [GPT2] if config.tokenizer == "gpt2" else []
    multiprocessing.set_forkserver_preload([END, *encoder, *IMPORTS, *(FILTERS if config.filters else ())])
    # Before Python 3.13 the fork server does not get our sys.path, and in a bare clone only that
    # knows our package.
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    # A new process keeps the mask. So Ctrl-C and a closed terminal, which reach all processes, are
    # for this one alone, and the others end with it (`worker.begin`, `warm_end`).
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        with _environment(PYTHONPATH=path, **{PARENT: str(os.getpid())}):
            resource_tracker.ensure_running()  # the fork server starts it else, and it changes the mask
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
