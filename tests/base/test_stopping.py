"""A signal ends the program with one line at any moment, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt_research.base import parent, stopping
from gpt_research.cli import command_line as cli
from gpt_research.cli.interactive import converse
from gpt_research.config import GenerateConfig

SOURCE = str(Path(__file__).parents[2] / "src")
LISTEN = """
import os, signal, sys, time
from gpt_research.base import stopping

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

with stopping.listening(), stopping.advising("Go on."):
"""


def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program of these lines in a folder."""
    environment = os.environ | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def says(block: str, folder: Path) -> tuple[int, str]:
    """Run lines inside the blocks of `LISTEN`; return exit code and standard error."""
    program = start(LISTEN + "".join(f"    {line}\n" for line in block.splitlines()), folder)
    _, said = program.communicate(timeout=60)
    return program.returncode, said


SWALLOWED = {
    "an import that somebody expects to fail": "try:\n    import fragile\nexcept BaseException:\n    pass",
    "a destructor": "class Odd:\n    def __del__(self):\n        interrupt()\nodd = Odd()\ndel odd",
    "foreign code": (
        "import hashlib, threading\nstopping.PATIENCE_S = 0.1\n"
        "threading.Timer(0.2, interrupt).start()\nhashlib.pbkdf2_hmac('sha512', b'x', b'x', 10**9)"
    ),
    "the second": "try:\n    interrupt()\nfinally:\n    interrupt()",
}


@pytest.mark.parametrize("where", SWALLOWED)
def test_an_interruption_that_python_would_lose_or_delay_ends_the_program(where: str, tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nx = 1\n")
    block = f"{SWALLOWED[where]}\nprint('still here', file=sys.stderr)"
    assert says(block, tmp_path) == (130, "Stopped. Go on.\n")


def test_before_an_exception_is_caught_the_line_comes_too(tmp_path: Path) -> None:
    code = LISTEN.replace(', stopping.advising("Go on.")', "") + "    interrupt()"
    program = start(code, tmp_path)
    assert program.communicate(timeout=60)[1] == f"Stopped. {stopping.GO_ON}\n"
    assert program.returncode == 130


@pytest.mark.parametrize("number", stopping.SIGNALS)
@pytest.mark.parametrize("error", [None, ImportError("a module of C code was cut short")])
def test_a_command_says_how_to_go_on(
    number: signal.Signals,
    error: Exception | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cleared = []

    def run(arguments: list[str]) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        except BaseException:
            if error:
                raise error from None
            raise
        finally:
            cleared.append(True)
        return 0

    handlers = [signal.getsignal(n) for n in stopping.SIGNALS]
    monkeypatch.setattr(cli, "_run", run)
    assert cli.main(["export", "runs/mine"]) == 128 + number
    assert capsys.readouterr().err == f"Stopped. {cli.GO_ON['export']}\n"
    assert cleared
    assert [signal.getsignal(n) for n in stopping.SIGNALS] == handlers


def test_only_the_first_rank_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli, "_run", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_an_answer_and_not_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces(*_: object, **__: object):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        yield

    monkeypatch.setattr("gpt_research.cli.interactive.stream_samples", pieces)
    lines, written = iter(["one", "two", "/quit"]), []
    with stopping.listening(), stopping.advising(""):
        converse(None, GenerateConfig(), written.append, lambda _: next(lines))
    assert written == ["one", "\n", "two", "\n"]


def wait_for(path: Path) -> str:
    """Return what a process writes into a file, when it is there."""
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline, path
        time.sleep(0.02)
    return path.read_text()


def assert_ends(pid: int) -> None:
    """Fail unless a process that is no child of this one ends soon."""
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").is_file() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "Z":
        assert time.monotonic() < deadline, Path(f"/proc/{pid}/cmdline").read_text()
        time.sleep(0.02)


POOL = """
import os, sys, time
from pathlib import Path
from gpt_research.base import stopping
from gpt_research.preprocessing import executors, warm_up
from gpt_research.preprocessing.settings import PreprocessConfig
sys.path.insert(0, sys.argv[1])
from pool_stage import Sleep

sys.excepthook = lambda kind, *_: None if kind is stopping.Ended else sys.__excepthook__(kind, *_)
with stopping.listening(), stopping.advising("Go on."):
    warm_up.IMPORTS = ()
    warm_up.start_fork_server(PreprocessConfig(tokenizer="train"))
    executors.run("sleep", Sleep(), 2, Path("logs"), PreprocessConfig(workers=2))
"""
STAGE = """
import os, time
from pathlib import Path

class Sleep:
    def __call__(self, rank, tasks):
        Path(f"parent-{rank}").write_text(str(os.getppid()))
        Path(f"pid-{rank}").write_text(str(os.getpid()))
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_command(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "pool_stage.py").write_text(STAGE)
    program = start(POOL, tmp_path, str(tmp_path))
    pids = [int(wait_for(tmp_path / name)) for name in ("pid-0", "pid-1", "parent-0")]
    program.send_signal(number)
    for pid in pids:
        assert_ends(pid)
    _, said = program.communicate(timeout=60)
    # After SIGKILL only Python's tracker of semaphores speaks.
    assert "Traceback" not in said if number == signal.SIGKILL else said == "Stopped. Go on.\n"


CHILD = """
import os, subprocess, sys, time
from pathlib import Path
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path("pid").write_text(f"{os.getpid()} {other.pid}")
time.sleep(600)
"""


def test_a_child_and_what_it_starts_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = f"from gpt_research.base.parent import run_python\nrun_python(['-c', {CHILD!r}])"
    program = start(code, tmp_path)
    pids = wait_for(tmp_path / "pid").split()
    program.kill()
    program.communicate()
    for pid in pids:
        assert_ends(int(pid))


def test_a_child_that_is_too_slow_is_ended_with_what_it_starts(tmp_path: Path) -> None:
    code = f"import os; os.chdir({str(tmp_path)!r}); print('so far', flush=True)\n{CHILD}"
    with pytest.raises(subprocess.TimeoutExpired) as late:
        parent.run_python(["-c", code], timeout=2)
    assert late.value.stdout == b"so far\n"
    for pid in wait_for(tmp_path / "pid").split():
        assert_ends(int(pid))


def test_a_child_gets_input_and_gives_output_and_exit_code() -> None:
    code = "import sys, gpt_research.version; print(input()); print('no', file=sys.stderr); sys.exit(3)"
    done = parent.run_python(["-c", code], input="yes\n", environment={})
    assert (done.returncode, done.stdout, done.stderr) == (3, "yes\n", "no\n")
    assert "pip" in parent.run_python(["-m", "pip", "--version"]).stdout


def test_a_rank_stops_in_order_when_its_launcher_is_killed(tmp_path: Path) -> None:
    rank = (
        "import os, signal, sys, time\nfrom pathlib import Path\nfrom gpt_research.base import parent\n"
        "parent.LOOKS_EVERY_S = 0.05\n"
        "signal.signal(signal.SIGTERM, lambda *_: (Path('saved').write_text('all'), sys.exit()))\n"
        "parent.stop_with_launcher()\nPath('pid').write_text(str(os.getpid()))\ntime.sleep(600)"
    )
    launcher = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {rank!r}])", tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    launcher.kill()
    launcher.communicate()
    assert wait_for(tmp_path / "saved") == "all"
    assert_ends(pid)
