"""A run that has read sentences which no other document has, at steps that are known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_run import Planted
from small_texts import make_text
from small_training import small_training

from gpt_research.data.loader import DataLoader
from gpt_research.model_config import GPTConfig
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.tracing.index import build_index
from gpt_research.training.loop import train

ADJECTIVES, NOUNS = ("red", "old", "tall", "wise", "slow", "loud"), ("fox", "owl", "ship", "lamp", "king", "road")


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    pytest.importorskip("pydivsufsort")
    folder = tmp_path_factory.mktemp("planted")
    draw, sentences = random.Random(4), {}
    (folder / "texts").mkdir()
    for number in range(30):
        sentence = (
            f"The {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)} number {number} met {make_text(900 + number, 1)[:30]}"
        )
        before, after = make_text(number, 12), make_text(100 + number, 12)
        (folder / "texts" / f"{number:02d}.txt").write_text(f"{before} {sentence} {after}", encoding="utf-8")
        sentences[sentence] = f"{number:02d}.txt"
    data = folder / "tokens"
    preprocess(
        PreprocessConfig(
            corpora=[f"tales={folder / 'texts'}"],
            out=str(data),
            tokenizer="train",
            vocab_size=400,
            val_fraction=0.1,
            workers=1,
            near_duplicates=False,
        )
    )
    config = small_training(
        data,
        out=str(folder / "run"),
        model=GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=64),
        max_steps=18,
        tokens_per_step=512,
        micro_batch=8,
        eval_tokens=64,
        save_interval=3,
        keep_last=99,
    )
    rows: dict[tuple[int, int], np.ndarray] = {}
    sequences = DataLoader.sequences

    def record(self: DataLoader, step: int, micro_step: int) -> Any:
        found = sequences(self, step, micro_step)
        for number, row in enumerate(found.numpy()):
            rows[step + 1, micro_step * self.micro_batch + number] = row.copy()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataLoader, "sequences", record)
        train(config)
    build_index(data)
    return Planted(Path(config.out), data, sentences, rows)
