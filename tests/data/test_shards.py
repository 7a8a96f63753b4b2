"""Data sets are read as they were written, from here and elsewhere, and damage is refused by
name.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt_research.base.errors import UserError
from gpt_research.data.shards import Dataset, read_manifests, token_dtype


@pytest.fixture
def copy(dataset_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset_folder, tmp_path / "copy"))


def test_counts_in_the_manifest_are_those_of_the_files(dataset_folder: Path) -> None:
    for folder, manifest in read_manifests(dataset_folder).values():
        for shards in manifest.splits.values():
            for shard in shards:
                assert (folder / shard.path).stat().st_size == 2 * shard.tokens
        assert manifest.count("train") > 1000
        assert manifest.count("val") > 100


def test_one_corpus_of_a_data_set_is_a_data_set(dataset_folder: Path) -> None:
    dataset = Dataset(dataset_folder / "tales", 32)
    assert list(dataset.train) == ["tales"]
    assert dataset.tokenizer_file == dataset_folder.resolve() / "tokenizer.json"


def test_nanogpt_files_are_read(tmp_path: Path) -> None:
    tokens = np.arange(1000, dtype="<u2")
    tokens.tofile(tmp_path / "train.bin")
    tokens[:100].tofile(tmp_path / "val.bin")
    dataset = Dataset(tmp_path, 64)
    (train,) = dataset.train.values()
    assert train.num_tokens == 1000
    assert np.array_equal(train.arrays[0], tokens)


def test_llmc_files_are_read(tmp_path: Path) -> None:
    tokens = np.arange(500, dtype="<u2")
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240520, 1, 500
    for name in ("tiny_train_000000.bin", "tiny_train_000001.bin", "tiny_val_000000.bin"):
        (tmp_path / name).write_bytes(header.tobytes() + tokens.tobytes())
    dataset = Dataset(tmp_path, 64)
    (train,) = dataset.train.values()
    assert train.num_tokens == 1000
    assert np.array_equal(train.arrays[1], tokens)


def test_llmc_files_without_their_magic_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny_train_000000.bin").write_bytes(np.arange(1000, dtype="<i4").tobytes())
    with pytest.raises(UserError, match=r"tiny_train_000000\.bin begins with \[0\], not with llm\.c's magic number"):
        Dataset(tmp_path, 64)


def test_nanogpt_files_of_half_a_token_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(bytes(1001))
    with pytest.raises(UserError, match=r"train\.bin has 1001 bytes, no whole number"):
        Dataset(tmp_path, 64)


def test_ids_above_65535_take_four_bytes() -> None:
    assert token_dtype(65536) == np.dtype("<u2")
    assert token_dtype(65537) == np.dtype("<u4")


@pytest.mark.parametrize("kept", [0.0, 0.5, -1, -2], ids=["empty", "half", "a byte short", "a token short"])
def test_a_shard_of_another_size_is_refused_by_name(copy: Path, kept: float) -> None:
    shard = copy / "plays" / "train_00000.bin"
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * kept) if kept >= 0 else int(kept)])
    with pytest.raises(UserError, match=r"train_00000\.bin has \d+ bytes"):
        Dataset(copy, 32)


def test_a_missing_shard_is_refused_by_name(copy: Path) -> None:
    (copy / "plays" / "train_00000.bin").unlink()
    with pytest.raises(UserError, match=r"train_00000\.bin cannot be read"):
        Dataset(copy, 32)


def test_a_manifest_may_not_point_outside(copy: Path) -> None:
    path = copy / "plays" / "manifest.json"
    fields = json.loads(path.read_text())
    fields["splits"]["train"][0]["path"] = "../../secret.bin"
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match="outside of its folder"):
        Dataset(copy, 32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.update(version=99), "version 99"),
        (lambda f: f.pop("splits"), "damaged"),
        (lambda f: f.update(dtype="float32"), "float32"),
        (lambda f: f.update(fingerprint="0" * 64), "different tokenizers"),
    ],
)
def test_a_strange_manifest_is_refused(copy: Path, change: object, says: str) -> None:
    path = copy / "plays" / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)  # type: ignore[operator]
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=says):
        Dataset(copy, 32)


def test_cut_json_is_refused(copy: Path) -> None:
    path = copy / "plays" / "manifest.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match="damaged"):
        Dataset(copy, 32)


def test_an_unfinished_data_set_is_none(copy: Path) -> None:
    (copy / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"make one with: \S+ "):
        Dataset(copy, 32)


def test_a_context_longer_than_the_data_is_refused(dataset_folder: Path) -> None:
    with pytest.raises(UserError, match=r"Lower model\.block_size"):
        Dataset(dataset_folder, 10_000_000)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No data set at"):
        Dataset(tmp_path / "nowhere", 32)
