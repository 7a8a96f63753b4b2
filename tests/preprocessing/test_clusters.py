"""Without Slurm or Ray, a sentence says what is missing. `tests/clusters` runs both."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from test_pipeline import config_of

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig


def on_cluster(text_folder: Path, out: Path, **changes: object) -> PreprocessConfig:
    return config_of(out, f"plays={text_folder}", tokenizer="train", vocab_size=300, tasks=2, workers=2, **changes)


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
