"""A small model that has learnt a little, and benchmarks of full length in the language it speaks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from small_benchmarks import sentence, write_benchmarks

from gpt_research.base import runtime as runtimes
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.model.gpt import GPT
from gpt_research.run import Run


def train_a_little(text: str, tokenizer: Tokenizer, steps: int, seed: int) -> GPT:
    torch.manual_seed(seed)
    config = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=48, vocab_size=tokenizer.vocab_size)
    model, tokens = GPT(config), torch.tensor(tokenizer.encode(text))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        begin = torch.randint(0, len(tokens) - 49, (8, 1)) + torch.arange(49)
        loss = model(tokens[begin][:, :-1], tokens[begin][:, 1:]) / (8 * 48)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_run(folder: Path, model: GPT, tokenizer: Tokenizer) -> None:
    folder.mkdir(parents=True)
    train = TrainConfig(model=model.config, tokens_per_step=8 * model.config.block_size, data=str(folder / "no_data"))
    write_yaml(train, folder / "config.yaml")
    tokenizer.save(folder / "tokenizer.json")
    state = {"lineage": {"tokenizer": tokenizer.fingerprint}}
    saved = Checkpoint(7, model_tensors(model), {}, state)
    save_checkpoint(folder, saved, keep_last=1)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run folders of two models of one tokenizer, the second trained for longer."""
    folder, rng = tmp_path_factory.mktemp("runs"), random.Random(1)
    text = ".\n".join(sentence(rng) for _ in range(1500))
    tokenizer = Tokenizer.train([text], 400)
    for name, steps in (("short", 40), ("long", 120)):
        write_run(folder / name, train_a_little(text, tokenizer, steps, seed=steps), tokenizer)
    return folder / "short", folder / "long"


@pytest.fixture(scope="session")
def evaluated(runs: tuple[Path, Path]) -> EvaluatedModel:
    run = Run.open(runs[1])
    return EvaluatedModel(run.model, run.tokenizer, runtimes.start("cpu", "fp32"), 48, batch_size=4)


@pytest.fixture(scope="session")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `--benchmarks` takes it."""
    return write_benchmarks(tmp_path_factory.mktemp("benchmarks"))
