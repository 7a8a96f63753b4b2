"""A small pretrained run, and files of examples of a language that it can learn."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_training import small_training

from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.model_config import GPTConfig
from gpt_research.training.loop import train


@pytest.fixture(scope="session")
def pretrained(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, tied weights, learned positions, value embeddings."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    shape = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32, value_embeddings=True)
    sizes = {"max_steps": 2, "tokens_per_step": 256, "warmup_steps": 0}
    train(small_training(dataset_folder, out=str(out), model=shape, learning_rate=6e-4, **sizes))
    return out


def sentence(rng: random.Random, label: str) -> str:
    verb = {"good": "loves", "bad": "hates", "odd": "takes"}[label]
    return f"{rng.choice(['the king', 'a fool', 'Romeo'])} {verb} the {rng.choice(['crown', 'sword', 'horse'])}"


def rows_of(task: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of a task that a small model can learn."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        one, two = rng.choice(["good", "bad"]), rng.choice(["good", "bad"])
        a, b = sentence(rng, one), sentence(rng, two)
        rows.append(
            {
                "classify": {"text": a, "label": one},
                "pairs": {"text_a": a, "text_b": b, "label": "same" if one == two else "other"},
                "similarity": {"text_a": a, "text_b": b, "label": 5.0 if one == two else 1.0},
                "choice": {"context": a, "choices": [b, sentence(rng, "odd"), a], "answer": 2},
                "complete": {"prompt": a, "completion": " gladly" if one == "good" else " sadly"},
                "chat": {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": one}]},
            }[task]
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def settings(pretrained: Path, tmp_path: Path) -> Callable[..., FinetuneSettings]:
    """Settings of a fine-tuning of a second, for a task."""

    def make(task: str = "classify", **changes: Any) -> FinetuneSettings:
        files = {
            "data": write_rows(tmp_path / f"{task}.jsonl", rows_of(task, 24)),
            "val": write_rows(tmp_path / f"{task}-val.jsonl", rows_of(task, 12, seed=1)),
        }
        usual: dict[str, Any] = {"batch_size": 8, "micro_batch": 4, "epochs": 2.0, "precision": "fp32", "device": "cpu"}
        return FinetuneSettings(
            **{
                "run": str(pretrained),
                "task": task,
                "out": str(tmp_path / "tuned"),
                "log_interval": 1,
                **files,
                **usual,
                **changes,
            }
        )

    return make


TALK_TEXTS = [("system", "Be brief."), ("user", " the king\n"), ("assistant", "a  fool"), ("user", "Romeo?")]
"""A conversation, with white space around and in messages."""
