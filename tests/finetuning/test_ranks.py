"""Several processes fine-tune to what one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rank_launcher import train_on_ranks

from gpt_research.checkpoint.files import load_newest
from gpt_research.finetuning.finetune import finetune
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.training.metrics import read_metrics

Settings = Callable[..., FinetuneSettings]


@pytest.mark.slow
def test_processes_learn_what_one_learns(settings: Settings, tmp_path: Path) -> None:
    """Copied with a head; sharded with adapters on packed conversations."""
    ways = {"classify": {"parallel": "ddp"}, "chat": {"parallel": "fsdp", "lora": 2}}
    jobs = {}
    for task, changes in ways.items():
        # Dropout has other draws on each process.
        usual = {"dropout": 0.0, "micro_batch": 2, "batch_size": 4, "learning_rate": 1e-3}
        finetune(settings(task, out=str(tmp_path / f"{task}-1"), lora=changes.get("lora", 0), **usual), until=3)
        jobs[task] = settings(task, out=str(tmp_path / f"{task}-2"), **changes, **usual)
    train_on_ranks(*((job, 2, 3) for job in jobs.values()))
    for task in ways:
        one, two = (load_newest(tmp_path / f"{task}-{number}") for number in (1, 2))
        assert one is not None
        assert two is not None
        assert one.model.keys() == two.model.keys()
        for name in one.model:
            torch.testing.assert_close(two.model[name], one.model[name], rtol=1e-3, atol=2e-5, msg=f"{task} {name}")
        losses = [[line["loss"] for line in read_metrics(tmp_path / f"{task}-{n}") if "loss" in line] for n in (1, 2)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
