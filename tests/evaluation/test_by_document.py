"""The loss by document adds up to the loss of training's own evaluation, and the documents are the
shards' own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gpt_research.base import startup
from gpt_research.data.loader import evaluation_batches, evaluation_windows
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.corpora import CorpusPart, _Documents, measure
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.validation import measure as measure_batches


@pytest.fixture(scope="module")
def asked(dataset_folder: Path) -> tuple[EvaluatedModel, Dataset]:
    torch.manual_seed(1)
    model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=32, vocab_size=300)).eval()
    tokenizer = Tokenizer.load(dataset_folder / "tokenizer.json")
    return EvaluatedModel(model, tokenizer, startup.start("cpu", "fp32"), 32, 4), Dataset(dataset_folder, 32)


@pytest.mark.parametrize("max_tokens", [0, 200])
def test_documents_add_up_to_the_loss_over_batches(asked: tuple[EvaluatedModel, Dataset], max_tokens: int) -> None:
    evaluated, dataset = asked
    byte_lengths = torch.from_numpy(evaluated.tokenizer.byte_lengths)
    for name in ("plays", "tales"):
        batches = evaluation_batches(dataset.val[name], max_tokens or None, 4)
        loss = measure_batches(evaluated.model, batches, byte_lengths, evaluated.runtime)
        columns = measure(evaluated, CorpusPart(dataset, name, "val", max_tokens))
        assert columns["tokens"].sum() == loss.tokens
        assert columns["bytes"].sum() == loss.bytes
        assert columns["nats"].sum() == pytest.approx(loss.nats, rel=1e-6)


def test_documents_are_those_of_the_index(asked: tuple[EvaluatedModel, Dataset], dataset_folder: Path) -> None:
    evaluated, dataset = asked
    for name in ("plays", "tales"):
        columns = measure(evaluated, CorpusPart(dataset, name, "train"))
        shards = sorted((dataset_folder / name).glob("train_*.parquet"))
        expected = [pq.read_table(shard).column("tokens").to_numpy() for shard in shards]
        whole = np.concatenate(expected)
        firsts = np.cumsum([0, *map(len, expected)])[:-1]  # the first token of a shard is no target
        whole[firsts] -= 1
        assert columns["tokens"].tolist() == whole.tolist()


def test_one_documents_loss_is_its_own(asked: tuple[EvaluatedModel, Dataset], dataset_folder: Path) -> None:
    evaluated, dataset = asked
    shard = dataset.val["tales"].arrays[0].astype(np.int64)
    columns = measure(evaluated, CorpusPart(dataset, "tales", "val"))
    end = int(np.flatnonzero(shard == evaluated.tokenizer.end_of_text)[0])
    nats = 0.0
    for start in range(0, len(shard) - 1, 32):
        window = torch.from_numpy(shard[start : start + 33])
        with torch.no_grad():
            log_p = evaluated.model(window[None, :-1])[0].log_softmax(-1)
        for t in range(1, len(window)):
            if start + t <= end:
                nats -= log_p[t - 1, window[t]].item()
    assert columns["nats"][0] == pytest.approx(nats, rel=1e-5)


def test_a_new_shard_and_an_end_in_a_gap_begin_another_document() -> None:
    documents = _Documents(end_of_text=0)
    one, two = np.array([5, 6, 7, 0, 8, 9, 0]), np.array([5, 6, 1, 1, 3, 4, 0, 0, 1, 7, 7, 7, 7, 0, 7])
    # Windows of the first shard follow each other; those of the second have gaps.
    for shard, start, end in [
        (one, 0, 3),
        (one, 2, 5),
        (one, 4, 7),
        (two, 0, 2),
        (two, 4, 7),
        (two, 8, 10),
        (two, 12, 15),
    ]:
        documents.add(shard, start, shard[start:end], np.ones(end - start - 1))
    owner, _, tokens = documents.joined()
    assert tokens.tolist() == [6, 7, 0, 8, 9, 0, 6, 4, 0, 7, 0, 7]
    assert owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4]


def test_a_part_of_a_long_document_is_one_document(asked: tuple[EvaluatedModel, Dataset]) -> None:
    evaluated, dataset = asked
    for name in ("plays", "tales"):
        whole = len(measure(evaluated, CorpusPart(dataset, name, "train"))["tokens"])
        for max_tokens in (32, 320, 640, 3200):
            columns = measure(evaluated, CorpusPart(dataset, name, "train", max_tokens))
            places = evaluation_windows(dataset.train[name], max_tokens)
            ends = [np.flatnonzero(array == evaluated.tokenizer.end_of_text) for array, _ in places]
            touched = {
                (id(array), int(np.searchsorted(end, position)))
                for (array, start), end in zip(places, ends, strict=True)
                for position in range(start + 1, min(start + 33, len(array)))
            }
            assert len(columns["tokens"]) == len(touched) <= whole, (name, max_tokens)
