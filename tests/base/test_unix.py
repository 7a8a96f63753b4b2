"""On Windows the program says in one sentence where it runs. Windows is made up: what it lacks is
taken away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = """
import os, runpy, signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = sys.modules["termios"] = None
for name in ("SIGHUP", "SIGKILL", "pthread_sigmask", "setitimer"):
    delattr(signal, name)
for name in ("sysconf", "killpg", "fork", "sched_getaffinity", "getloadavg"):
    delattr(os, name)
"""


@pytest.mark.parametrize(
    "how",
    [
        "from gpt_research.__main__ import main; sys.argv = ['', 'train']; sys.exit(main())",
        "sys.argv = ['', 'doctor']; runpy.run_module('gpt_research', run_name='__main__')",
        f"sys.argv = [r'{ROOT / 'trainer.py'}']; runpy.run_path(sys.argv[0], run_name='__main__')",
        f"sys.argv = [r'{ROOT / 'preprocessing.py'}']; runpy.run_path(sys.argv[0], run_name='__main__')",
        f"sys.argv = [r'{ROOT / 'src' / 'generate.py'}']; runpy.run_path(sys.argv[0], run_name='__main__')",
    ],
)
def test_every_way_to_start_it_ends_in_one_sentence(how: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", WITHOUT + how]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: This program needs Linux or macOS")
    assert "WSL2" in done.stderr
    assert not done.stdout


def test_in_python_it_is_the_error_of_the_import() -> None:
    code = WITHOUT + "import gpt_research\nprint(gpt_research.__version__)\ngpt_research.load('run')"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr.splitlines()[-1].startswith("ImportError: This program needs Linux or macOS")
    assert done.stdout
