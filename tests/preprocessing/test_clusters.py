"""Slurm and Ray run the same stages and leave the same bytes; without them, a sentence says what is
missing.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from test_pipeline import config_of, digest

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig

SBATCH = """#!/bin/bash
# Stands in for Slurm: runs the tasks of a job here and now, one after the other.
script="${@: -1}"
last=$(grep -oP '#SBATCH --array=0-\\K[0-9]+' "$script" || echo 0)
export SLURM_NODELIST=localhost SLURM_NODEID=0 SLURM_ARRAY_JOB_ID=7 RUN_OFFSET=0
for task in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$task bash "$script" >> "$0.log" 2>&1; done
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/bash
while [[ "$1" == -* ]]; do [[ "$1" == -n ]] && shift; shift; done
exec "$@"
"""


def on_cluster(text_folder: Path, out: Path, **changes: object) -> PreprocessConfig:
    return config_of(out, f"plays={text_folder}", tokenizer="train", vocab_size=300, tasks=2, workers=2, **changes)


@pytest.mark.slow
def test_slurm_leaves_the_same_bytes(text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    scripts = {"sbatch": SBATCH, "srun": SRUN, "scontrol": "#!/bin/bash\necho localhost\n"}
    for name, script in scripts.items():
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]))
    slurm = on_cluster(text_folder, tmp_path / "slurm", executor="slurm", slurm_partition="cpu")
    assert preprocess(slurm) is None
    assert (tmp_path / "slurm" / "dataset.json").is_file(), (tools / "sbatch.log").read_text()[-2000:]
    again = preprocess(slurm)  # tells what came out, and clears the work folder away
    assert again is not None
    assert again.reused
    preprocess(on_cluster(text_folder, tmp_path / "local"))
    assert digest(tmp_path / "slurm") == digest(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_leaves_the_same_bytes(text_folder: Path, tmp_path: Path) -> None:
    preprocess(on_cluster(text_folder, tmp_path / "ray", executor="ray"))
    preprocess(on_cluster(text_folder, tmp_path / "local"))
    assert digest(tmp_path / "ray") == digest(tmp_path / "local")


def test_what_a_cluster_lacks_is_said(text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for changes, says in (
        ({"executor": "slurm"}, "needs --slurm_partition"),
        ({"executor": "slurm", "slurm_partition": "cpu"}, "sbatch, which is not here"),
        ({"executor": "ray"}, r"\[cluster\]"),
    ):
        with pytest.raises(UserError, match=says):
            preprocess(on_cluster(text_folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out" / "dataset.json").exists()
