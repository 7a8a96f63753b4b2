"""A faster start: what is here only so that `preprocess` writes its first token a second or two earlier.

Nothing in this file changes what is computed. If each function did nothing, the command would write the same bytes,
only later: to import what workers need, and to build GPT-2's encoder, takes each worker more than a second. So workers
are copies of one process, which Python calls the fork server, and that process imports it all once for them, while the
main process imports its own modules and looks at the corpora.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import threading
from multiprocessing import forkserver
from pathlib import Path

from gpt_research.preprocessing.settings import PreprocessConfig

FOR_GPT2 = "gpt_research.preprocessing.warm_gpt2"
"""Builds GPT-2's encoder when it is imported."""
FOR_WORKERS = (
    "gpt_research.preprocessing.stages.index_benchmarks",
    "gpt_research.preprocessing.stages.read",
    "gpt_research.preprocessing.stages.assemble",
    "gpt_research.preprocessing.readers.catalogue",
    "gpt_research.preprocessing.text.kernels",
)


def start_worker_server(config: PreprocessConfig) -> None:
    """Start the fork server, if the run will have workers on this machine."""
    if config.executor != "local" or config.workers == 1:
        return
    multiprocessing.set_forkserver_preload([*([FOR_GPT2] if config.tokenizer == "gpt2" else []), *FOR_WORKERS])
    # The fork server does not get our sys.path before Python 3.13, and in a bare clone only that knows our package.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), before)))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def import_figures_ahead() -> None:
    """Import matplotlib, which the data card needs at the end, while this process waits for its workers."""
    threading.Thread(target=importlib.import_module, args=("matplotlib.figure",)).start()
