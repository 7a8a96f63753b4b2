"""`make install` takes torch from the index that the user names, and only then takes it again."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INDEX = "https://download.pytorch.org/whl"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_torch_is_installed_again_if_another_index_is_named(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python, log = tmp_path / ".venv" / "bin" / "python", tmp_path / "log"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')  # in the place of pip
    python.chmod(0o755)
    for path in (python, *tmp_path.glob("*")):
        os.utime(path, (1e9, 1e9))

    def installed(*arguments: str) -> list[str]:
        log.write_text("")
        environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "MAKEFLAGS")}
        command = ["make", "-s", "install", *arguments]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
        return log.read_text().splitlines()

    assert len(first := installed()) == 2
    assert not any("index-url" in line for line in first)
    assert installed() == []
    of_its_own, its_needs, _ = installed(f"TORCH_INDEX={INDEX}/cu126")
    assert of_its_own.endswith(f"--force-reinstall --no-deps --index-url {INDEX}/cu126 torch")
    assert its_needs.endswith(f"--extra-index-url {INDEX}/cu126 torch")
    assert "--constraint constraints.txt" in of_its_own
    assert installed(f"TORCH_INDEX={INDEX}/cu126") == []
    assert installed() == [], "it stays"
    assert f"--index-url {INDEX}/cpu torch" in installed(f"TORCH_INDEX={INDEX}/cpu")[0]
