"""A command that a message names can be typed as it stands, however the program was installed."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_research.base import hints

ROOT = Path(__file__).parents[2]


class Wheel(importlib.metadata.Distribution):
    """What an installed wheel says of itself."""

    def read_text(self, filename: str) -> str | None:
        return {"direct_url.json": json.dumps({"url": "file:///gpt_research.whl", "archive_info": {}})}.get(filename)

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        raise AssertionError


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in the working directory whose programs are not on the path, as `make demo`
    makes it.
    """
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setattr(sys, "argv", ["trainer.py"])
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    for name in ("LOCAL_WORLD_SIZE", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    return programs


def write_script(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpt-research").write_text(f"#!{sys.executable}\n")
    (folder / "gpt-research").chmod(0o755)


def test_a_script_that_is_not_on_the_path_is_named_by_its_place(environment: Path) -> None:
    write_script(environment)
    assert hints.command("train", "--resume", "runs/a b") == ".venv/bin/gpt-research train --resume 'runs/a b'"
    assert hints.python() == ".venv/bin/python"


def test_a_script_on_the_path_is_named_bare(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_script(environment)
    monkeypatch.setenv("PATH", str(environment))
    assert hints.command("generate", "runs/a") == "gpt-research generate runs/a"
    assert hints.python() == "python"


def test_another_program_of_that_name_on_the_path_is_not_meant(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_script(environment)
    write_script(tmp_path / "other")
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    assert hints.command("plan").startswith(".venv/bin/gpt-research ")


@pytest.mark.usefixtures("environment")
def test_several_processes_are_started_by_torchrun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert hints.command("train", "--resume", "a") == "torchrun --nproc_per_node 4 -m gpt_research train --resume a"


@pytest.mark.parametrize("command", ["train", "preprocess", "generate", "evaluate"])
def test_a_clone_that_was_never_installed_can_be_told(
    command: str, environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the hint names is run, with the shell, in a folder like a clone."""
    monkeypatch.setattr(hints, "_is_installed", lambda: False)
    (tmp_path / "src").symlink_to(ROOT / "src")
    for name in ("trainer.py", "preprocessing.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(hints, "SOURCE", tmp_path / "src")
    line = hints.command(command, "--no_such_setting", "1")
    assert str(tmp_path) not in line
    # The interpreter of the fixture has no packages, so the one of the tests stands in.
    line = line.replace(".venv/bin/python", shlex.quote(str(Path(os.path.realpath(environment / "python")))))
    libraries = str(Path(importlib.metadata.distribution("jsonargparse").locate_file("")))
    line = line.replace("PYTHONPATH=src", f"PYTHONPATH=src:{libraries}")
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, env={"PYTHONPATH": libraries, "PATH": "/bin"}
    )
    assert 'unknown setting "no_such_setting"' in done.stderr, line


@pytest.mark.usefixtures("environment")
def test_a_clone_installs_an_extra_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clone" / "src").mkdir(parents=True)
    (tmp_path / "clone" / "pyproject.toml").write_text('[project]\nname = "gpt-research"\n')
    monkeypatch.setattr(hints, "SOURCE", tmp_path / "clone" / "src")
    assert hints.install("export", "gguf") == '.venv/bin/python -m pip install -e "clone[export]"'
    monkeypatch.chdir(tmp_path / "clone")
    assert hints.install("export", "gguf").endswith('/.venv/bin/python -m pip install -e ".[export]"')


@pytest.mark.usefixtures("environment")
def test_torch_comes_from_another_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clone" / "src").mkdir(parents=True)
    (tmp_path / "clone" / "pyproject.toml").write_text('[project]\nname = "gpt-research"\n')
    (tmp_path / "clone" / "Makefile").touch()
    monkeypatch.setattr(hints, "SOURCE", tmp_path / "clone" / "src")
    assert hints.install_torch("2.13.0+cu130", "https://x/cu126") == "make -C clone install TORCH_INDEX=https://x/cu126"
    monkeypatch.chdir(tmp_path / "clone")
    assert hints.install_torch("2.13.0+cu130", "https://x/cu126") == "make install TORCH_INDEX=https://x/cu126"
    monkeypatch.setattr(hints, "SOURCE", tmp_path / "lib")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Wheel())
    said = hints.install_torch("2.13.0+cu130", "https://x/cu126")
    assert said.endswith("python -m pip install --force-reinstall torch==2.13.0 --index-url https://x/cu126")


@pytest.mark.usefixtures("environment")
def test_a_wheel_installs_the_packages_of_an_extra_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "SOURCE", tmp_path / "lib")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Wheel())
    needed = ["torch", "gguf>=0.17; extra == 'export'", 'ray>=2; extra == "cluster"', 'xllamacpp>=1; extra == "export"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    assert hints.install("export", "gguf") == '.venv/bin/python -m pip install "gguf>=0.17" "xllamacpp>=1"'
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: None)
    assert hints.install("export", "gguf") == '.venv/bin/python -m pip install "gguf"'


SPELT_OUT = {
    "plain.py": "the card of an export, which goes to other machines",
    "card.py": "the card of a data set, which goes to other machines",
}
"""Files whose texts name commands of this program by themselves, and why."""


@pytest.mark.parametrize("path", sorted((ROOT / "src" / "gpt_research").rglob("*.py")), ids=lambda path: path.stem)
def test_no_message_spells_a_command_out(path: Path) -> None:
    """It would be wrong where the program is not on the path; `hints` knows what it is there."""
    if path.name == "hints.py" or path.name in SPELT_OUT:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            assert not re.search(r"gpt-research (?!tokenizer)[a-z]|gpt-research\[|python \w+\.py", node.value), (
                node.value
            )
            assert "pip install" not in node.value.replace("pip install triton", ""), node.value
