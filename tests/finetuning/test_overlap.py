"""Test texts that stand in the data of the base run are found."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from finetuning.conftest import write_rows

from gpt_research.base.settings import write_yaml
from gpt_research.data.documents import Documents
from gpt_research.data.shards import read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning.examples import ExampleFile
from gpt_research.lab import overlap as overlaps
from gpt_research.lab.overlap import overlap
from gpt_research.run_reference import run_reference
from gpt_research.settings_history import run_config


@pytest.fixture
def words(dataset_folder: Path) -> list[str]:
    """Words in a row of the last training document."""
    documents = Documents(read_manifests(dataset_folder))
    last = documents.get("tales", "train", [documents.count("tales", "train") - 1])[0]
    text = Tokenizer.load(dataset_folder / "tokenizer.json").decode(documents.tokens(last).tolist())
    return text.replace(".", " ").split()[100:200]


def examples(tmp_path: Path, words: list[str]) -> ExampleFile:
    shuffled = random.Random(1).sample(words, 20)
    texts = {
        "planted": ["a new beginning", *words[:13]],
        "shouted and punctuated": [word.upper() + "," for word in words[30:45]],
        "twelve words, and then others": [*words[:12], "elephants"],
        "short, and there": words[50:58],
        "short, and seven words there": [*words[50:57], "elephants"],
        "too short": words[:7],
        "other": shuffled,
    }
    rows = [{"context": " ".join(own), "choices": ["yes", "no"], "answer": 0} for own in texts.values()]
    return ExampleFile.read(write_rows(tmp_path / "test.jsonl", rows), "choice", {})


@pytest.mark.parametrize("at_once", [overlaps.TOKENS_AT_ONCE, 64])
def test_planted_texts_are_found_and_others_not(
    pretrained: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Also if the data is read in pieces."""
    monkeypatch.setattr(overlaps, "TOKENS_AT_ONCE", at_once)
    found = overlap(run_reference(pretrained), examples(tmp_path, words))
    assert [int(where.rpartition(" ")[2]) for where in found.where] == [1, 2, 4]
    assert (found.examples, found.looked_for, found.found) == (7, 6, 3)
    assert found.in_words.startswith("3 of 6 test examples (50.0%) share 13 words in a row with the training split of")
    assert "1 shorter ones were not looked for." in found.in_words


def test_data_that_is_gone_is_said_to_be_unread(
    pretrained: Path, dataset_folder: Path, words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "moved"
    run.mkdir()
    for path in pretrained.iterdir():
        (run / path.name).symlink_to(path)
    (run / "config.yaml").unlink()
    (run / "settings.jsonl").unlink()
    write_yaml(dataclasses.replace(run_config(pretrained), data=str(tmp_path / "gone")), run / "config.yaml")
    found = overlap(run_reference(run), examples(tmp_path, words))
    assert found.in_words.startswith("Not looked for in the pretraining data.")
    assert f"data set {tmp_path / 'gone'} is not here: say where it is with --pretrained_on." in found.in_words
    assert overlap(run_reference(run), examples(tmp_path, words), str(dataset_folder)).found == 3
