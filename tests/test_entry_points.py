"""The commands of the README work as written, from a copy of the tree that was never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> Path:
    """A bare copy of what a clone holds, with one corpus under data/raw."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("trainer.py", "preprocessing.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(text_folder, folder / "data" / "raw" / "plays")
    return folder


def python(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the copy; the installed package must not help it."""
    # -P and an empty path keep the working directory and this checkout out of sys.path
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    code = (
        "import runpy, sys; sys.path = [p for p in sys.path if not p.endswith('/src')]; "
        "sys.meta_path = [f for f in sys.meta_path if 'gpt_research' not in repr(f)]; "
        f"sys.argv = {list(arguments)!r}; sys.path.insert(0, str(__import__('pathlib').Path(sys.argv[0]).parent)); "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=300)


SMALL = [
    "--model.n_layer", "2", "--model.n_head", "2", "--model.n_embd", "32", "--model.block_size", "64",
    "--tokens_per_step", "512", "--max_steps", "3", "--log_interval", "1", "--eval_tokens", "256",
]  # fmt: skip


@pytest.mark.slow
def test_preprocess_train_generate_from_a_bare_copy(clone: Path) -> None:
    prepared = python(clone, "preprocessing.py")
    assert prepared.returncode == 0, prepared.stderr
    assert "Taking the corpora under data/raw/: plays." in prepared.stderr
    assert "plays" in prepared.stdout
    trained = python(clone, "trainer.py", *SMALL)  # bare, but for a size that fits a test
    assert trained.returncode == 0, trained.stderr
    assert "validation loss" in trained.stderr
    assert (clone / "runs" / "gpt2-124m" / "checkpoints" / "step_00000003").is_dir()
    written = python(clone, "src/generate.py", "--prompt", "the king", "--max_new_tokens", "8")
    assert written.returncode == 0, written.stderr
    assert "the king" in written.stdout
    again = python(clone, "preprocessing.py")
    assert "nothing to do" in again.stderr


def test_the_facades_export_what_they_promise(clone: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'src'); import components, dataloader, generate; "
        "[getattr(m, n) for m in (components, dataloader, generate) for n in m.__all__]; "
        "print(components.GPT.__name__, dataloader.DataLoader.__name__, generate.generate.__name__)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True)
    assert result.stdout.split() == ["GPT", "DataLoader", "generate"], result.stderr


def test_generate_without_a_run_says_what_to_do(tmp_path: Path, clone: Path) -> None:
    shutil.copytree(clone / "src", tmp_path / "src")
    result = python(tmp_path, "src/generate.py")
    assert result.returncode == 2
    assert "No run with a checkpoint under runs. Name a run folder, or train one: " in result.stderr


def test_requirements_name_no_index_and_no_other_file() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert lines
    for line in lines:
        assert not line.startswith("-"), line
        assert "://" not in line, line


def test_no_torchvision_gets_in() -> None:
    import importlib.util

    assert importlib.util.find_spec("torchvision") is None, "it drags CUDA builds along and breaks transformers"
