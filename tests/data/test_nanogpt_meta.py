"""nanoGPT's character-level data is trained with its characters, and its pickle never runs code."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main
from gpt_research.data.dataset_tokenizer import check_same_tokens, tokenizer_of
from gpt_research.data.nanogpt_meta import read_characters
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.run import Run

TEXT = "Ähm, the cat – 猫 – sat\n on the mat. \U0001f408\n" * 120


def meta_of(text: str) -> dict[str, Any]:
    characters = sorted(set(text))
    return {
        "vocab_size": len(characters),
        "itos": dict(enumerate(characters)),
        "stoi": {character: index for index, character in enumerate(characters)},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as nanoGPT's prepare.py of a character-level data set leaves it."""
    meta, folder = meta_of(TEXT), tmp_path / "chars"
    folder.mkdir()
    for split, text in (("train", TEXT), ("val", TEXT[:900])):
        np.array([meta["stoi"][c] for c in text], dtype=np.uint16).tofile(folder / f"{split}.bin")
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return folder


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("optimised", [False, True])
def test_the_characters_are_those_that_pickle_would_give(tmp_path: Path, protocol: int, optimised: bool) -> None:
    many = meta_of("".join(map(chr, range(32, 1400))) + "猫\U0001f408\u2028\x00")
    for meta in (many, meta_of("a"), {"itos": {1: "b", 0: "a"}}):
        data = pickle.dumps(meta, protocol)
        (tmp_path / "meta.pkl").write_bytes(pickletools.optimize(data) if optimised else data)
        assert read_characters(tmp_path / "meta.pkl") == [meta["itos"][i] for i in range(len(meta["itos"]))]


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("place", ["whole", "extra", "inside", "key"])
def test_code_in_the_file_is_refused_and_does_not_run(tmp_path: Path, protocol: int, place: str) -> None:
    meta, payload = meta_of("abc"), Payload(tmp_path / "ran")
    hostile: Any = {
        "whole": payload,
        "extra": {**meta, "more": payload},
        "inside": {**meta, "itos": {0: payload}},
        "key": {payload: 1, **meta},
    }[place]
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(hostile, protocol))
    with pytest.raises(UserError, match=r"meta\.pkl cannot be used.*more than dictionaries, strings and whole numbers"):
        read_characters(tmp_path / "meta.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ([1, 2], "the pickle operation EMPTY_LIST"),
        ({"itos": np.int64(3)}, "the pickle operation"),
        ({"itos": b"abc"}, "the pickle operation"),
        ({"vocab_size": 3}, 'it has no "itos"'),
        ({"itos": {}}, 'it has no "itos"'),
        ({"itos": "abc"}, 'it has no "itos"'),
        (7, 'it has no "itos"'),
        ({"itos": {1: "a", 2: "b"}}, "are not the numbers from 0 on"),
        ({"itos": {"0": "a"}}, "are not the numbers from 0 on"),
        ({"itos": {0: "ab"}}, "its token 'ab' is not one character"),
        ({"itos": {0: 5}}, "its token 5 is not one character"),
        ({"itos": {0: "a"}, "vocab_size": 65}, 'its vocab_size is 65, but its "itos" has 1 ids'),
        ({"itos": {0: "a", 1: "b"}, "stoi": {"a": 1, "b": 0}}, "contradict each other"),
        ({"itos": {0: "a", 1: "a"}}, "contradict|comes twice"),
    ],
)
def test_what_is_no_vocabulary_of_characters_is_refused_with_a_remedy(folder: Path, meta: Any, says: str) -> None:
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    with pytest.raises(UserError, match=says) as refusal:
        tokenizer_of(Dataset(folder, 16))
    assert str(folder / "meta.pkl") in str(refusal.value)


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1])
def test_a_damaged_file_is_one_sentence(folder: Path, cut: int) -> None:
    data = (folder / "meta.pkl").read_bytes()
    (folder / "meta.pkl").write_bytes(data[:cut])
    with pytest.raises(UserError, match=r"meta\.pkl cannot be used.*it is damaged"):
        tokenizer_of(Dataset(folder, 16))


def test_bytes_at_random_never_end_in_a_traceback(tmp_path: Path) -> None:
    rng, data = np.random.default_rng(1), bytearray(pickle.dumps(meta_of("abcdef")))
    for _ in range(2000):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            changed[place] = rng.integers(256)
        (tmp_path / "meta.pkl").write_bytes(changed)
        with contextlib.suppress(UserError):  # anything else fails the test
            read_characters(tmp_path / "meta.pkl")


def test_training_sampling_generating_and_evaluating_work_in_characters(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shape = ["--model.n_layer", "1", "--model.n_head", "2", "--model.n_embd", "32", "--model.block_size", "32"]
    steps = ["--max_steps", "80", "--learning_rate", "1e-2", "--warmup_steps", "5", "--eval_interval", "80"]
    flags = ["--data", str(folder), "--out", str(run), "--device", "cpu", "--precision", "fp32"]
    assert main(["train", "--config", "demo", *flags, *shape, *steps]) == 0
    opened, characters = Run.open(run), sorted(set(TEXT))
    assert opened.tokenizer.vocab_size == len(characters) + 1
    assert opened.model.config.vocab_size == len(characters) + 1
    assert opened.tokenizer.decode(range(len(characters))) == "".join(characters)
    sample = (run / "samples.txt").read_text(encoding="utf-8").split("---\n", 1)[1]
    assert set(sample) <= set(TEXT), "a sample is of the data's characters"
    capsys.readouterr()
    assert main(["generate", str(run), "--prompt", "the c", "--max_new_tokens", "4", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.startswith("the cat –")
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert main(["generate", str(run), "--prompt", "q"]) == 2
    assert "'q' (U+0071" in capsys.readouterr().err


def test_the_tokens_of_another_vocabulary_are_not_evaluated(folder: Path, tmp_path: Path) -> None:
    dataset, elsewhere = Dataset(folder, 16), tmp_path / "gpt2"
    characters = tokenizer_of(dataset)[0]
    check_same_tokens(dataset, characters, tmp_path)
    with pytest.raises(UserError, match="was written with the tokenizer"):
        check_same_tokens(dataset, Tokenizer.from_characters("abc"), tmp_path)
    elsewhere.mkdir()
    np.arange(400, dtype=np.uint16).tofile(elsewhere / "train.bin")
    with pytest.raises(UserError, match="was written with the tokenizer"):
        check_same_tokens(Dataset(elsewhere, 16), characters, tmp_path)
    check_same_tokens(Dataset(elsewhere, 16), Tokenizer.gpt2(), tmp_path)


def test_two_vocabularies_beside_the_data_are_refused(folder: Path) -> None:
    Tokenizer.from_characters("abc").save(folder / "tokenizer.json")
    with pytest.raises(UserError, match="has two vocabularies"):
        tokenizer_of(Dataset(folder, 16))


def test_a_tokenizer_above_the_folder_does_not_hide_the_characters(folder: Path) -> None:
    Tokenizer.from_characters("abc").save(folder.parent / "tokenizer.json")
    assert tokenizer_of(Dataset(folder, 16))[0].vocab_size == len(set(TEXT)) + 1
