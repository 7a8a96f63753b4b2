"""A token is led back to the document and file it came from, and a step of training to all it
read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.cli.command_line import main
from gpt_research.cli.where import windows_of_run
from gpt_research.config import TrainConfig
from gpt_research.data.lineage import Lineage
from gpt_research.data.shards import Dataset, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.training.inputs import loader_of_run


@pytest.fixture(scope="module")
def in_shards(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The forty documents over several shards."""
    out = tmp_path_factory.mktemp("where") / "tokens"
    settings = {"tokenizer": "train", "vocab_size": 300, "tasks": 5, "workers": 1, "near_duplicates": False}
    preprocess(PreprocessConfig(corpora=[f"plays={text_folder}"], out=str(out), val_fraction=0.1, **settings))
    return out


def all_tokens(folder: Path, corpus: str, split: str) -> np.ndarray:
    """The tokens of a split, over all shards in order."""
    where, manifest = read_manifests(folder)[corpus]
    shards = [np.fromfile(where / shard.path, dtype=manifest.dtype) for shard in manifest.splits[split]]
    return np.concatenate(shards)


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_token_is_found_in_the_file_it_came_from(in_shards: Path, text_folder: Path, split: str) -> None:
    lineage, tokenizer = Lineage(in_shards), Tokenizer.load(in_shards / "tokenizer.json")
    tokens = all_tokens(in_shards, "plays", split)
    assert len(read_manifests(in_shards)["plays"][1].splits["train"]) > 2
    # The first and the last of each document, the last of the split, and some between.
    ends = np.flatnonzero(tokens == tokenizer.end_of_text)
    for token in sorted({0, *ends.tolist(), *(ends[:-1] + 1).tolist(), *range(11, len(tokens), 997)}):
        origin = lineage.origin("plays", token, split)
        text = (text_folder / origin.source).read_text()
        document = tokenizer.encode(text)
        assert [*document, tokenizer.end_of_text][origin.token_in_document] == tokens[token]
        assert origin.document_tokens == len(document) + 1
        assert origin.sha256 == hashlib.sha256(text.encode()).hexdigest()
        before, here, after = origin.text
        assert here == (
            "<|endoftext|>" if tokens[token] == tokenizer.end_of_text else tokenizer.decode([tokens[token]])
        )
        assert before + here + after in text + "<|endoftext|>"
        assert origin.root == str(text_folder)


def test_a_token_beyond_the_split_is_refused_with_the_range(in_shards: Path) -> None:
    total = len(all_tokens(in_shards, "plays", "val"))
    for token in (-1, total):
        with pytest.raises(UserError, match=f"val tokens of plays, numbered 0 to {total - 1}"):
            Lineage(in_shards).origin("plays", token, "val")


def test_a_wrong_corpus_is_refused_with_the_closest(in_shards: Path) -> None:
    with pytest.raises(UserError, match='Did you mean "plays"'):
        Lineage(in_shards).origin("play", 0)


def test_only_the_index_of_the_tokens_own_shard_is_read(
    in_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = pq.read_table
    monkeypatch.setattr(
        pq, "read_table", lambda path, **rest: (read.append(Path(path).name), original(path, **rest))[1]
    )
    shard = read_manifests(in_shards)["plays"][1].splits["train"][1]
    lineage = Lineage(in_shards)
    first = read_manifests(in_shards)["plays"][1].splits["train"][0].tokens
    assert lineage.origin("plays", first).shard == f"plays/{shard.path}"
    assert lineage.origin("plays", first + 5).row == 0
    assert read == [shard.path.replace(".bin", ".parquet")]


def test_a_member_of_an_archive_has_the_archives_hash(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("A page of the web that is long enough to be kept here.")
    (tmp_path / "raw").mkdir()
    with tarfile.open(tmp_path / "raw" / "inner.tar", "w") as inner:
        inner.add(tmp_path / "one.txt", "one.txt")
    with tarfile.open(tmp_path / "raw" / "outer.tar", "w") as outer:
        outer.add(tmp_path / "raw" / "inner.tar", "inner.tar")
    (tmp_path / "raw" / "inner.tar").unlink()
    settings = {"tokenizer": "train", "vocab_size": 257, "workers": 1, "near_duplicates": False, "val_fraction": 0.0}
    spec = f"web:openwebtext={tmp_path / 'raw'}"
    preprocess(PreprocessConfig(corpora=[spec], out=str(tmp_path / "out"), **settings))
    origin = Lineage(tmp_path / "out").origin("web", 3)
    assert origin.source == "outer.tar!inner.tar"
    assert origin.sha256 == hashlib.sha256((tmp_path / "raw" / "outer.tar").read_bytes()).hexdigest()


def test_mails_in_a_folder_have_their_own_hashes(tmp_path: Path) -> None:
    inbox = tmp_path / "maildir" / "allen-p" / "inbox"
    inbox.mkdir(parents=True)
    mail = "Subject: Lunch\n\nShall we have lunch on the other side of the river tomorrow?\n"
    (inbox / "1.").write_text(mail)
    settings = {"tokenizer": "train", "vocab_size": 257, "workers": 1, "near_duplicates": False, "val_fraction": 0.0}
    preprocess(PreprocessConfig(corpora=[f"enron={tmp_path / 'maildir'}"], out=str(tmp_path / "out"), **settings))
    origin = Lineage(tmp_path / "out").origin("enron", 0)
    assert (origin.source, origin.sha256) == ("allen-p/inbox/1.", hashlib.sha256(mail.encode()).hexdigest())


def test_the_folder_of_one_corpus_can_be_asked(dataset_folder: Path) -> None:
    whole, part = Lineage(dataset_folder).origin("tales", 100), Lineage(dataset_folder / "tales").origin("tales", 100)
    assert part == replace(whole, shard="train_00000.bin")


def test_data_prepared_elsewhere_is_refused(tmp_path: Path) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "train.bin")
    with pytest.raises(UserError, match="prepared elsewhere"):
        Lineage(tmp_path)


def test_a_missing_index_is_named(dataset_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset_folder, copy)
    (copy / "plays" / "train_00000.parquet").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"train_00000\.parquet cannot be read"):
        Lineage(copy).origin("plays", 0)


def test_a_step_is_led_back_to_all_documents_its_windows_touch(dataset_folder: Path, tiny_run: TrainConfig) -> None:
    config = replace(tiny_run, mix_temperature=3.0)
    dataset = Dataset(config.data, config.model.block_size)
    loader = loader_of_run(config, dataset.train)
    expected = [window for m in range(loader.micro_steps) for window in loader.windows(4, m)]
    found = list(windows_of_run(config, 5, config.data))
    assert len(found) == len(expected) == 8
    tokens = {name: all_tokens(dataset_folder, name, "train") for name in ("plays", "tales")}
    end = Tokenizer.load(dataset_folder / "tokenizer.json").end_of_text
    for origins, ((array, start, length),) in zip(found, expected, strict=True):
        window = array[start : start + length]
        first = origins[0]
        assert np.array_equal(tokens[first.corpus][first.token : first.token + 33], window)
        assert len(origins) == 1 + np.count_nonzero(window[:-1] == end)
    with pytest.raises(UserError, match="steps 1 to 12"):
        next(windows_of_run(config, 13, config.data))


def test_the_command_answers_for_people_and_for_programs(
    dataset_folder: Path, tiny_run: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["where", str(dataset_folder), "--corpus", "plays", "--token", "70"]) == 0
    said = capsys.readouterr().out
    assert "token     70 of plays, train" in said
    assert "»" in said
    assert main(["where", str(dataset_folder), "--corpus", "plays", "--token", "70", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["source"] in said
    assert main(["where", str(dataset_folder), "--token", "70"]) == 2
    assert "several corpora" in capsys.readouterr().err
    run = tmp_path / "a-run"
    run.mkdir()
    write_yaml(tiny_run, run / "config.yaml")
    assert main(["where", "--run", str(run), "--step", "1"]) == 0
    assert capsys.readouterr().out.count("window ") == 8
    assert main(["where", "--run", str(run)]) == 2
    assert "together with --run" in capsys.readouterr().err
