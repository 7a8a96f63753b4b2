"""No process that this package starts outlives the one that started it, however that one ends.

Python ends children only if it ends in order. A parent that is killed cannot do anything, so here
the children watch: each holds one end of a pipe whose other end only the parent holds, and the
system closes that end with the parent.

`python -m gpt_research.base.parent FD -m MODULE ...` is such a child; `run_python` and
`started_python` start it.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from gpt_research.base import wait_policy

LOOKS_EVERY_S = 1.0
GRACE_S = 60.0
"""Seconds that a training process gets to save after its launcher was killed."""


def end_worker_with_parent() -> None:
    """Make this worker of a pool end when the process ends that made the pool."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    _on_thread(watch)


def stop_with_launcher() -> None:
    """Make this process stop, as SIGTERM would, when the launcher (`torchrun`) is gone."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LOOKS_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)
        # The other ranks may be gone too, and then a rank that waits for them never stops.
        time.sleep(GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    _on_thread(watch)


def run_python(
    arguments: Sequence[str],
    *,
    input: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run another Python and wait for it; it ends with this process, and so does what it starts.

    Args:
        arguments: `-m MODULE ...` or `-c CODE`. It can import this package.
        input: text for its standard input.
        environment: its environment; by default that of this process.
        timeout: seconds after which it is killed.

    Raises:
        subprocess.TimeoutExpired: with the output so far, as bytes.
    """
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with started_python(arguments, environment=environment, **pipes) as child:
        try:
            out, err = child.communicate(input, timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


@contextlib.contextmanager
def started_python(
    arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, **streams: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start another Python as `run_python` does, and wait for it at the end of the block.

    Args:
        streams: stdin, stdout and stderr, as `subprocess.Popen` takes them.
    """
    variables = dict(os.environ if environment is None else environment)
    # The package may be in a clone that is not installed.
    paths = [str(Path(__file__).parents[2]), variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "gpt_research.base.parent", str(reader), *arguments]
    try:
        # In a session of its own, Ctrl-C does not reach the child, and its children can be found.
        with subprocess.Popen(
            command, **streams, text=True, env=variables, pass_fds=[reader], start_new_session=True
        ) as child:
            yield child
    finally:
        os.close(reader)
        os.close(writer)


def _on_thread(target: Callable[[], None]) -> None:
    threading.Thread(target=target, name="parent", daemon=True).start()


def _main() -> None:
    """Be the child that `run_python` starts."""
    reader, kind, what = int(sys.argv[1]), *sys.argv[2:4]

    def watch() -> None:
        os.read(reader, 1)
        os.killpg(0, signal.SIGKILL)

    _on_thread(watch)
    wait_policy.choose()
    if kind == "-m":
        sys.argv[:] = sys.argv[3:]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})


if __name__ == "__main__":
    _main()
