"""Installed from a wheel, the program is whole: the demo and one's own way, in a folder without the
tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FEW_STEPS = ["--max_steps", "3", "--eval_interval", "3", "--eval_tokens", "512", "--device", "cpu"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built of a copy so that the build leaves nothing in the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = ["wheel", str(copy), "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(copy / "dist")]
    run([sys.executable, "-m", "pip", *build], copy)
    return next((copy / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`gpt-research` in an environment that holds the wheel, and what it depends on, and no other
    copy of it.
    """
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    install = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    run([sys.executable, "-m", "pip", *install], environment)
    # The dependencies are those of the suite. A path file is not read within a path file's folder,
    # so the suite's own editable installation stays out. It comes after the installation, because
    # pip would replace what it sees.
    packages = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], environment)
    Path(packages.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    installed = run([str(python), "-c", "import gpt_research; print(gpt_research.__file__)"], environment)
    assert installed.startswith(str(environment))
    return environment / "bin" / "gpt-research"


def run(command: list[str], folder: Path) -> str:
    """Run a command with no help from variables of this process; return what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_presets_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "src" / "gpt_research").rglob("*"):
        if path.suffix in (".py", ".yaml"):
            assert path.relative_to(ROOT / "src").as_posix() in names
    assert all(name.startswith(("gpt_research/", "gpt_research-")) for name in names)


@pytest.mark.slow
def test_the_demo_runs_anywhere(program: Path, text_folder: Path, tmp_path: Path) -> None:
    texts = tmp_path / "data" / "demo" / "shakespeare"  # where the demo would put what it fetches
    texts.mkdir(parents=True)
    for path in text_folder.iterdir():
        shutil.copy(path, texts / f"{path.stem}_gut.txt")
    said = run([str(program), "demo", *FEW_STEPS], tmp_path)
    assert f"{len(list(texts.iterdir()))} texts, there already" in said
    assert f"$ {program} train --config demo --max_steps 3" in said, "the program is not on the path"
    assert "Validation loss" in said
    assert (tmp_path / "runs" / "demo" / "loss.png").is_file()


@pytest.mark.slow
def test_the_way_of_ones_own_runs_anywhere(program: Path, text_folder: Path, tmp_path: Path) -> None:
    tokenizer = ["--tokenizer", "train", "--vocab_size", "300", "--workers", "1"]
    run([str(program), "preprocess", f"mine={text_folder}", "--out", "data/mine", *tokenizer], tmp_path)
    run([str(program), "train", "--config", "demo", "--data", "data/mine", "--out", "runs/mine", *FEW_STEPS], tmp_path)
    said = run([str(program), "generate", "runs/mine", "--prompt", "the king", "--max_new_tokens", "8"], tmp_path)
    assert "the king" in said
