"""The whole way on the command line: text, shards, a loss that falls, text again, a measure of it,
another format.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt_research.cli.command_line import main
from gpt_research.training.metrics import read_metrics


def test_from_text_to_an_exported_model(
    text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = ["--tokenizer", "train", "--vocab_size", "320"]
    split = ["--val_fraction", "0.1", "--workers", "1"]
    assert main(["preprocess", f"plays={text_folder}", "--out", "tokens", *tokenizer, *split]) == 0
    size = ["--model.n_layer", "2", "--model.n_head", "2", "--model.n_embd", "64", "--model.block_size", "64"]
    assert main(["train", "--data", "tokens", "--out", "runs/plays", *size, "--tokens_per_step", "512", "--max_steps",
                 "80", "--learning_rate", "5e-3", "--warmup_steps", "5", "--eval_interval", "40",
                 "--eval_tokens", "2048", "--log_interval", "10", "--device", "cpu"]) == 0  # fmt: skip
    losses = [line["loss"] for line in read_metrics(Path("runs/plays")) if "loss" in line]
    assert losses[-1] < 0.6 * losses[0]
    assert main(["evaluate", "runs/plays", "--json", "result.json", "--device", "cpu"]) == 0
    overall = json.loads(Path("result.json").read_text())["overall"]
    assert overall["bits_per_byte"] < 2.5  # eight bits a byte know nothing
    capsys.readouterr()
    greedy = ["generate", "--prompt", "the king ", "--temperature", "0", "--max_new_tokens", "20", "--device", "cpu"]
    assert main(greedy) == 0  # the newest run
    written = capsys.readouterr().out
    assert written.startswith("the king ")
    assert any(word in written for word in ("takes", "gives", "loves", "hates", "breaks"))
    assert main(["export", "runs/plays", "--format", "safetensors", "--out", "exported"]) == 0
    assert main(["import", "exported", "--out", "runs/back"]) == 0
    capsys.readouterr()
    assert main([*greedy[:1], "runs/back", *greedy[1:]]) == 0
    assert capsys.readouterr().out == written
