"""Adapters: what is trained, and that a merged model is the model with its adapters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import SavedTensors, checkpoint_path, load_newest, saved_steps
from gpt_research.finetuning.fine_tuned import open_fine_tuned
from gpt_research.finetuning.finetune import finetune, prepared
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.model.gpt import GPT
from gpt_research.run import Run
from gpt_research.run_reference import run_reference
from gpt_research.training.loop import Trainer
from gpt_research.training.reporter import Reporter

Settings = Callable[..., FinetuneSettings]


def test_only_adapters_and_what_is_new_are_trained(settings: Settings, pretrained: object) -> None:
    config, objective = prepared(settings(lora=2, lora_matrices="qkv,down"))
    trainer = Trainer(config, startup.start("cpu", "fp32"), objective, Reporter())
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    adapters = {
        f"blocks.{n}.{m}.{k}" for n in (0, 1) for m in ("attention.qkv", "mlp.down") for k in ("lora_down", "lora_up")
    }
    assert trained == adapters | {"task_head.weight", "token_embedding.weight"}
    # It begins as the model that it was.
    tokens = torch.arange(20)[None]
    before = Run.open(str(pretrained)).model
    trainer.model.eval()
    torch.testing.assert_close(trainer.model.hidden(tokens), before.hidden(tokens), rtol=0, atol=1e-6)
    config, objective = prepared(settings(lora=2, lora_matrices="q_proj"))
    with pytest.raises(UserError, match=r"lora_matrices has 'q_proj', but the blocks .* have down, proj, qkv, up"):
        Trainer(config, startup.start("cpu", "fp32"), objective, Reporter())


def test_frozen_weights_are_written_once_and_each_checkpoint_stands_alone(settings: Settings, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"lora": 2, "epochs": 4.0, "keep_last": 3, "learning_rate": 0.02}
    whole = finetune(settings("chat", out=str(tmp_path / "whole"), **usual)).run
    halves = settings("chat", out=str(tmp_path / "halves"), **usual)
    finetune(halves, until=2)
    finetune(halves)
    steps = saved_steps(whole)
    assert len(steps) >= 3
    folders = [checkpoint_path(whole, step) for step in steps]
    assert len({(folder / "frozen.safetensors").stat().st_ino for folder in folders}) == 1
    trained = SavedTensors([folders[-1] / "model.safetensors"])
    assert set(trained) == {name for name in trained if "lora" in name or name.startswith("token_embedding")}
    one, two = (load_newest(run) for run in (whole, Path(halves.out)))
    assert one is not None
    assert two is not None
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    assert one.weights_sha256 == two.weights_sha256
    # The older checkpoints go, and the newest is moved to where there are no others.
    for folder in folders[:-1]:
        shutil.rmtree(folder)
    whole.rename(tmp_path / "moved")
    merged = Run.open(tmp_path / "moved").model
    expected = Run.open(halves.out).model
    assert all(torch.equal(a, b) for a, b in zip(merged.parameters(), expected.parameters(), strict=True))
    frozen = checkpoint_path(tmp_path / "moved", steps[-1]) / "frozen.safetensors"
    frozen.write_bytes(frozen.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"the SHA-256 of frozen\.safetensors differs"):
        Run.open(f"{tmp_path / 'moved'}@{steps[-1]}")


@pytest.mark.parametrize("task", ["classify", "chat"])
def test_a_merged_model_is_the_model_with_its_adapters(settings: Settings, task: str) -> None:
    outcome = finetune(settings(task, lora=4, lora_alpha=32.0, learning_rate=0.02, epochs=4.0))
    merged = Run.open(outcome.run).model
    adapted = open_fine_tuned(run_reference(outcome.run), "").model
    assert type(merged) is GPT
    assert any("lora_up" in name and parameter.abs().max() > 1e-3 for name, parameter in adapted.named_parameters())
    tokens = torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens), adapted(tokens), rtol=1e-6, atol=1e-6)
