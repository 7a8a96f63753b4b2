"""The vocabulary is learnt from a sample of the training documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.plan import make_plan
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.stages import train_tokenizer
from gpt_research.preprocessing.stages.train_tokenizer import TrainTokenizer
from gpt_research.preprocessing.work_folder import WorkFolder


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that tokenizers were trained on."""
    seen: list[str] = []
    train = Tokenizer.train

    def noticed(texts: Any, vocab_size: int) -> Tokenizer:
        seen.extend(texts)
        return train(seen, vocab_size)

    monkeypatch.setattr(Tokenizer, "train", noticed)
    return seen


def learnt(folder: Path, texts: list[str], files: int = 1, **changes: Any) -> None:
    (folder / "in").mkdir()
    for number in range(files):
        rows = [json.dumps({"text": text}) + "\n" for text in texts[number::files]]
        (folder / "in" / f"{number}.jsonl").write_text("".join(rows))
    settings = {"tokenizer": "train", "vocab_size": 300, "val_fraction": 0.3, "min_characters": 1, **changes}
    config = PreprocessConfig(corpora=[f"mine={folder / 'in'}"], out=str(folder / "out"), **settings)
    plan = make_plan(config, [resolve(spec) for spec in config.corpora])
    work = WorkFolder(folder / ".work")
    work.save_plan(plan)
    TrainTokenizer(work, resolve)(0, 1)
    assert Tokenizer.load(work.folder / "tokenizer.json").vocab_size > 256


def test_each_training_document_once_and_none_for_validation(tmp_path: Path, taught: list[str]) -> None:
    texts = [f"This is document {number}." for number in range(200)]
    learnt(tmp_path, texts + texts, files=3)
    assert len(taught) == len(set(taught))
    settings = {"val_fraction": 0.3, "min_characters": 1, "near_duplicates": False, "workers": 1}
    out = tmp_path / "out"
    preprocess(PreprocessConfig(corpora=[f"mine={tmp_path / 'in'}"], out=str(out), **settings))  # type: ignore[arg-type]
    tokens, gpt2 = (
        np.concatenate([np.fromfile(path, "<u2") for path in (out / "mine").glob("train_*.bin")]),
        Tokenizer.gpt2(),
    )
    ends = np.flatnonzero(tokens == gpt2.end_of_text)
    assert {
        gpt2.decode(part) for part in np.split(tokens[tokens != gpt2.end_of_text], ends - np.arange(len(ends)))[:-1]
    } == set(taught)


def test_documents_that_are_all_for_validation_are_learnt_from_nevertheless(tmp_path: Path, taught: list[str]) -> None:
    learnt(tmp_path, ["The only one."], val_fraction=0.999999)
    assert taught == ["The only one."]


def test_of_large_corpora_a_piece_of_every_unit(
    tmp_path: Path, taught: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_tokenizer, "SAMPLE_BYTES", 40_000)
    monkeypatch.setattr(train_tokenizer, "PIECE_BYTES", 1000)
    monkeypatch.setattr("gpt_research.preprocessing.text.batches.BATCH_BYTES", 500)
    texts = [f"Document {number} says {'word ' * 20}" for number in range(8000)]
    learnt(tmp_path, texts, files=8, val_fraction=0.0)
    assert 38_000 < sum(map(len, taught)) < 45_000
    assert {int(text.split()[1]) % 8 for text in taught} == set(range(8))


def test_units_give_by_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = train_tokenizer._shares([1 << 20] * 1500 + [24 << 30])  # many small files, and one that is nearly all
    assert shares.sum() == train_tokenizer.SAMPLE_BYTES
    assert 0.9 < shares[-1] / shares.sum() < 1
    assert train_tokenizer._shares([0, 0]).tolist() == [train_tokenizer.SAMPLE_BYTES / 2] * 2  # the hub does not say
    small = np.array([3 << 20, 0, 1 << 20])
    assert (train_tokenizer._shares(small.tolist()) >= small).all()


def test_damaged_pieces_are_passed_over(tmp_path: Path, taught: list[str]) -> None:
    (tmp_path / "more").mkdir()
    learnt(tmp_path, ["Good one.", "Good two."], val_fraction=0.0)
    with open(tmp_path / "in" / "0.jsonl", "a") as file:
        file.write("{broken\n")
    taught.clear()
    work = WorkFolder(tmp_path / ".work")
    TrainTokenizer(work, resolve)(0, 1)
    assert taught == ["Good one.", "Good two."]


@pytest.mark.parametrize("workers", [1, 2])
def test_characters_are_those_of_all_documents_by_code_point(tmp_path: Path, workers: int) -> None:
    texts = [f"Document {chr(0x430 + number)}." for number in range(8)]
    (tmp_path / "in").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "in" / f"{number}.txt").write_text(text + "\r\n")
    (tmp_path / "in" / "short.txt").write_text("\u9be8")  # left out, so its character is left out too
    config = PreprocessConfig(
        corpora=[f"mine={tmp_path / 'in'}"], out=str(tmp_path / "out"), tokenizer="char", val_fraction=0.4,
        min_characters=3, workers=workers, tasks=4,
    )  # fmt: skip
    preprocess(config)
    tokenizer = Tokenizer.load(tmp_path / "out" / "tokenizer.json")
    assert "".join(map(chr, sorted(map(ord, set("".join(texts)))))) == tokenizer.decode(range(tokenizer.vocab_size))
    assert preprocess(config).reused  # type: ignore[union-attr]


def test_a_text_with_a_character_that_the_vocabulary_lacks_is_named(tmp_path: Path) -> None:
    Tokenizer.from_characters("ab \n").save(tmp_path / "tokenizer.json")
    (tmp_path / "in").mkdir()
    for name, text in (("a.txt", "a b ba"), ("b.txt", "ab \u9be8")):
        (tmp_path / "in" / name).write_text(text)
    config = PreprocessConfig(
        corpora=[f"mine={tmp_path / 'in'}"], out=str(tmp_path / "out"), min_characters=1, workers=1,
        tokenizer=str(tmp_path / "tokenizer.json"),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"b\.txt \(0\): The tokenizer knows 4 characters.*U\+9BE8"):
        preprocess(config)
