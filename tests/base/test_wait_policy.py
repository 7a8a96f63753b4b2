"""Whatever starts a process of ours chooses how threads wait before torch is loaded, since its
OpenMP library reads the choice only then; a user's own choice stays.

The processes do not load torch: a hook writes down what torch would find, and ends them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_research.base import wait_policy
from gpt_research.preprocessing import executors
from gpt_research.preprocessing.cluster.worker import work_on
from gpt_research.preprocessing.settings import PreprocessConfig

ROOT = Path(__file__).parents[2]
HOOK = """
import json, os, sys

class AtTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            chosen = {name: os.environ[name] for name in %r if name in os.environ}
            with open(os.environ["SEEN"], "w") as file:
                json.dump(chosen, file)
            os._exit(0)

sys.meta_path.insert(0, AtTorch())
"""
TRAIN = ["--config", "demo", "--data", "nowhere"]
CHILD = "from gpt_research.base import parent; "
LOAD_TORCH = "{plugin}"
"""Stands for a plugin of the user's that loads torch, where nothing of ours does."""
ENTRIES = {
    "src/gpt_research/__main__.py": ["-m", "gpt_research", "train", *TRAIN],
    "gpt-research": ["-c", "from gpt_research.__main__ import main; main('doctor')"],
    "trainer.py": ["trainer.py", *TRAIN],
    "preprocessing.py": ["preprocessing.py", "--plugin", LOAD_TORCH],
    "src/generate.py": ["src/generate.py", "--prompt", "the"],
    "src/gpt_research/lm_eval.py": ["-m", "gpt_research.lm_eval", "--help"],
    "src/gpt_research/base/parent.py": ["-c", CHILD + "parent.run_python(['-c', 'import torch'])"],
    "src/gpt_research/estimate/probe.py": ["-c", CHILD + "parent.run_python(['-m', 'gpt_research.estimate.probe'])"],
    "src/gpt_research/cli/preprocess_worker.py": [
        "-c", "from gpt_research.cli.preprocess_worker import main; main(['nowhere']); import torch"
    ],
}  # fmt: skip
"""How each file that begins a process is started, or what stands behind a console script."""
BENCHMARKS = [
    path.relative_to(ROOT).as_posix()
    for path in sorted(ROOT.glob("benchmarks/*.py"))
    if re.search(r"^import torch$|^from gpt_research\.base import .*runtime", path.read_text(encoding="utf-8"), re.M)
]
"""Those that load torch at their start; the others start processes of the program, or need none."""
WORKERS = {"src/gpt_research/cli/preprocess_worker.py"}


@pytest.fixture
def nobody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nobody has chosen."""
    for name in wait_policy.USERS_CHOICE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def plain(nobody_chose: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Besides, the hook; returns where it writes. The fork server must not start within this
    fixture: it stays, and its workers would end where later tests load torch.
    """
    (tmp_path / "sitecustomize.py").write_text(HOOK % (wait_policy.USERS_CHOICE,), encoding="utf-8")
    (tmp_path / "plugin.py").write_text("import torch\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT / "src")]))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.json"))
    return tmp_path / "seen.json"


def seen_by_torch(arguments: list[str], seen: Path) -> dict[str, str]:
    """Run Python until it would load torch; return what it finds of how threads wait."""
    arguments = [argument.replace(LOAD_TORCH, str(seen.with_name("plugin.py"))) for argument in arguments]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert seen.exists(), f"torch was not loaded: {done.stdout}{done.stderr}"
    found: dict[str, str] = json.loads(seen.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_process_of_ours_chooses_before_torch_is_loaded(entry: str, plain: Path) -> None:
    expected = wait_policy.POLICY_OF_WORKERS if entry in WORKERS else wait_policy.POLICY
    assert seen_by_torch(ENTRIES[entry], plain) == expected


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_benchmark_does_too(benchmark: str, plain: Path) -> None:
    assert seen_by_torch([benchmark, "--help"], plain) == wait_policy.POLICY


def test_every_file_that_begins_a_process_is_among_them() -> None:
    files = [*ROOT.glob("*.py"), *(ROOT / "src").rglob("*.py")]
    begin = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    assert begin == ENTRIES.keys() - {"gpt-research"}
    assert len(BENCHMARKS) >= 6


@pytest.mark.parametrize("choice", wait_policy.USERS_CHOICE)
def test_a_users_choice_stays(choice: str, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice, "active")
    assert seen_by_torch(ENTRIES["src/gpt_research/__main__.py"], plain) == {choice: "active"}
    assert wait_policy.is_the_users()


@pytest.mark.parametrize("code", ["import gpt_research; gpt_research.GPT", "import components"])
def test_a_program_that_imports_the_package_keeps_its_own(code: str, plain: Path) -> None:
    assert seen_by_torch(["-c", f"import sys; sys.path.insert(0, 'src'); {code}"], plain) == {}


def test_these_tests_choose_too() -> None:
    assert any(name in os.environ for name in wait_policy.USERS_CHOICE)


class NoteTheEnvironment:
    """A stage that writes down how threads of its worker wait."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, rank: int, tasks: int) -> None:
        chosen = {name: os.environ[name] for name in wait_policy.USERS_CHOICE if name in os.environ}
        (self.folder / f"{rank}.json").write_text(json.dumps(chosen), encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, wait_policy.POLICY_OF_WORKERS),
        (wait_policy.POLICY, wait_policy.POLICY_OF_WORKERS),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_a_worker_of_a_cluster_never_spins(
    before: dict[str, str],
    expected: dict[str, str],
    tmp_path: Path,
    nobody_chose: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in wait_policy.POLICY:
        monkeypatch.setenv(name, "for pytest to take back")
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    work_on([("note", NoteTheEnvironment(tmp_path), 1)], tmp_path / "logs", 0)
    assert json.loads((tmp_path / "0.json").read_text(encoding="utf-8")) == expected


def test_nor_does_a_worker_of_a_pool(tmp_path: Path, nobody_chose: None) -> None:
    stage = NoteTheEnvironment(tmp_path)
    executors.run("note", stage, 2, tmp_path / "logs", PreprocessConfig(workers=2))
    assert json.loads((tmp_path / "1.json").read_text(encoding="utf-8")) == wait_policy.POLICY_OF_WORKERS
