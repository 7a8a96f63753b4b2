"""Every kind of model and optimizer trains, and goes on from a checkpoint as if never stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from model_shapes import SHAPES

from gpt_research.checkpoint.files import load_newest
from gpt_research.config import OptimizerConfig, TrainConfig
from gpt_research.training.loop import train


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("qwen3", "adamw"),
        ("qwen3", "muon"),
        ("alibi_groups", "muon"),
        ("mup", "adamw"),
        ("softcap", "adamw"),
        ("untied", "muon"),
    ],
)
def test_an_interrupted_run_equals_an_uninterrupted_one(name: str, optimizer: str, tiny_run: TrainConfig) -> None:
    ours = tiny_run.model
    shape = dataclasses.replace(SHAPES[name], block_size=ours.block_size, vocab_size=ours.vocab_size)
    settings = OptimizerConfig(optimizer, embedding_lr_scale=3.0, head_lr_scale=0.5, vector_weight_decay=0.01)
    whole = dataclasses.replace(tiny_run, model=shape, optimizer=settings, out=f"{tiny_run.out}-whole")
    parts = dataclasses.replace(whole, out=f"{tiny_run.out}-parts")
    train(whole)
    train(parts, until=3)
    train(parts)
    one, other = load_newest(Path(whole.out)), load_newest(Path(parts.out))
    assert one is not None
    assert other is not None
    assert one.step == other.step == whole.max_steps
    for kind in ("model", "optimizer"):
        tensors, again = getattr(one, kind), getattr(other, kind)
        assert tensors.keys() == again.keys()
        for key in tensors:
            assert torch.equal(tensors[key], again[key]), key
