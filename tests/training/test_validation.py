"""Loss, perplexity and bits per byte are what their formulas say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gpt_research.base import startup
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.data.shards import Dataset
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import load_model
from gpt_research.training.loop import train
from gpt_research.training.validation import Loss, measure, total


def test_the_sums_are_those_of_a_plain_loop() -> None:
    torch.manual_seed(1)
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=16, block_size=8, vocab_size=30))
    byte_lengths = torch.arange(30)
    batches = []
    nats, count, size = 0.0, 0, 0
    for _ in range(3):
        tokens, targets = torch.randint(0, 30, (2, 8)), torch.randint(-1, 30, (2, 8))
        batches.append((tokens, targets))
        logits = model(tokens).log_softmax(-1)
        for b in range(2):
            for t in range(8):
                if targets[b, t] >= 0:
                    nats -= logits[b, t, targets[b, t]].item()
                    count += 1
                    size += int(targets[b, t])
    loss = measure(model, batches, byte_lengths, startup.start("cpu", "fp32"))
    assert (loss.tokens, loss.bytes) == (count, size)
    assert loss.nats == pytest.approx(nats, rel=1e-5)
    assert loss.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert loss.perplexity == pytest.approx(math.exp(nats / count), rel=1e-5)


def test_a_model_that_knows_nothing_costs_the_vocabulary() -> None:
    loss = Loss(nats=1000 * math.log(256), tokens=1000, bytes=1000)
    assert loss.perplexity == pytest.approx(256)
    assert loss.bits_per_byte == pytest.approx(8)


def test_sums_add_up_over_corpora() -> None:
    overall = total({"a": Loss(10.0, 5, 20), "b": Loss(2.0, 3, 4)})
    assert (overall.nats, overall.tokens, overall.bytes) == (12.0, 8, 24)


def test_evaluate_gives_a_table_and_json_of_every_token(
    tiny_run: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_run)
    assert main(["evaluate", tiny_run.out, "--json", str(tmp_path / "result.json"), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result["corpora"]) == {"plays", "tales"}
    for name, numbers in result["corpora"].items():
        assert name in printed
        assert f"{numbers['bits_per_byte']:.4f}" in printed
    dataset = Dataset(tiny_run.data, 32)
    expected = sum(len(a) - 1 for files in dataset.val.values() for a in files.arrays)
    assert result["overall"]["tokens"] == expected

    model, _ = load_model(tiny_run.out)  # the same by hand, over one corpus
    nats = 0.0
    for array in dataset.val["tales"].arrays:
        for start in range(0, len(array) - 1, 32):
            window = torch.from_numpy(array[start : start + 33].astype("int64"))
            with torch.no_grad():
                nats += F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="sum").item()
    found = result["corpora"]["tales"]
    assert found["loss"] * found["tokens"] == pytest.approx(nats, rel=1e-4)


def test_data_of_another_tokenizer_is_refused(
    tiny_run: TrainConfig, text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_run)
    out = str(tmp_path / "other")
    assert main(["preprocess", f"plays={text_folder}", "--out", out, "--workers", "1"]) == 0
    assert main(["evaluate", tiny_run.out, "--data", out]) == 2
    assert f"--tokenizer {tiny_run.out}/tokenizer.json" in capsys.readouterr().err
