"""A model that has diverged ends no command in a traceback: each says so in a sentence."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import load_newest
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.cli.command_line import main
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.generation.torch_engine import generate
from gpt_research.run import Run
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.validation import Loss

SETTINGS = {
    "plain": {},
    "greedy": {"temperature": 0},
    "nucleus": {"top_p": 0.9},
    "min_p": {"min_p": 0.1, "top_k": 0},
    "penalty": {"repetition_penalty": 1.3, "num_samples": 3},
}


@pytest.fixture
def diverged(tiny_run: TrainConfig, bad: float) -> Path:
    """A run whose newest checkpoint holds a number that is not finite."""
    train(dataclasses.replace(tiny_run, max_steps=2, eval_interval=0))
    run = Path(tiny_run.out)
    checkpoint = load_newest(run)
    assert checkpoint is not None
    checkpoint.model["blocks.0.mlp.down.bias"][3] = bad
    save_checkpoint(run, dataclasses.replace(checkpoint, step=3), keep_last=1)
    return run


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_commands_say_it_in_a_sentence(diverged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = {
        "generate": "no text can be drawn from it",
        "evaluate": "it has no score",
        "export": "no other program can be compared with it",
    }
    for command, consequence in commands.items():
        flags = ["--out", str(tmp_path / "exported")] if command == "export" else ["--device", "cpu"]
        assert main([command, str(diverged), *flags]) == 2
        said = capsys.readouterr().err
        assert f"error: The model's output is not finite (nan or infinity), so {consequence}." in said
        assert "earlier checkpoint" in said
    assert not (diverged / "evaluation.json").exists()
    run = Run.open(diverged)
    for settings in SETTINGS.values():
        with pytest.raises(UserError, match="not finite"):
            generate(run.model, run.tokenizer, ["a", "bc"], GenerateConfig(max_new_tokens=4, **settings))


def test_a_number_that_is_not_finite_in_mid_text_ends_it_too(tiny_run: TrainConfig) -> None:
    """Only a text that reaches this position meets it."""
    train(dataclasses.replace(tiny_run, max_steps=1, eval_interval=0))
    run = Run.open(tiny_run.out)
    with torch.no_grad():
        run.model.position_embedding.weight[6] = math.nan
    assert len(generate(run.model, run.tokenizer, "a", GenerateConfig(max_new_tokens=3))[0].tokens) == 3
    with pytest.raises(UserError, match="not finite"):
        generate(run.model, run.tokenizer, "a", GenerateConfig(max_new_tokens=20, temperature=0))


def test_a_run_that_diverges_evaluates_and_samples_until_it_is_stopped(
    tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tiny_run.out
    flags = ["--data", tiny_run.data, "--out", out, "--device", "cpu", "--precision", "fp32", "--max_steps", "20"]
    small = ["--model.n_layer", "2", "--model.n_head", "2", "--model.n_embd", "32", "--model.block_size", "32"]
    rates = ["--learning_rate", "1e30", "--grad_clip", "0", "--eval_interval", "1", "--eval_tokens", "512"]
    assert main(["train", "--config", "demo", *flags, *small, *rates, "--warmup_steps", "0"]) == 2
    said = capsys.readouterr().err
    assert "had a gradient that is not finite" in said
    assert "Traceback" not in said
    assert "the validation loss is not finite: the model has diverged" in said
    assert "(no sample: The model's output is not finite" in (Path(out) / "samples.txt").read_text()
    assert [m["val_loss"] for m in read_metrics(Path(out)) if "val_loss" in m][-1] is None


def test_the_perplexity_of_nan_is_nan() -> None:
    assert math.isnan(Loss(math.nan, 3, 4).perplexity)
    assert Loss(1e9, 3, 4).perplexity == math.inf
