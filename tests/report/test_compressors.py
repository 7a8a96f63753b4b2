"""What compressors need for the validation text, alone and given the training text."""

from __future__ import annotations

import bz2
import importlib.util
import lzma
import shutil
from pathlib import Path

import pytest
from report.written_runs import write_run

from gpt_research.cli.command_line import main
from gpt_research.data.dataset_tokenizer import tokenizer_of
from gpt_research.data.shards import Dataset
from gpt_research.report import compressors
from gpt_research.report.compressors import CACHE, JOINT, measure


@pytest.fixture
def data(dataset_folder: Path, tmp_path: Path) -> Path:
    """A data set of its own, so that what is kept in it is seen."""
    return Path(shutil.copytree(dataset_folder, tmp_path / "data"))


def documents(folder: Path, split: str) -> list[bytes]:
    """Return the documents of a split, decoded token by token."""
    dataset, found = Dataset(folder, 1), []
    tokenizer, _ = tokenizer_of(dataset)
    for files in dataset.splits[split].values():
        for tokens in files.arrays:
            text: list[int] = []
            for token in tokens.tolist():
                if token == tokenizer.end_of_text:
                    found.append(tokenizer.decode_bytes(text))
                    text = []
                else:
                    text.append(token)
    return found


def test_bits_per_byte_are_those_of_the_standard_library(data: Path) -> None:
    training, validation = documents(data, "train"), documents(data, "val")
    size, text, before = sum(map(len, validation)), JOINT.join(validation), JOINT.join([*training, b""])
    measured = measure(data)
    assert measured is not None
    rows = {row.name: row for row in measured.rows}
    assert rows["bz2"].alone == 8 * len(bz2.compress(text)) / size
    assert rows["bz2"].given == 8 * (len(bz2.compress(before + text)) - len(bz2.compress(before))) / size
    # The container of .xz, which ours leaves out, takes some bytes more.
    sizes = [len(lzma.compress(t, preset=9 | lzma.PRESET_EXTREME)) for t in (text, before + text, before)]
    assert rows["xz"].alone == pytest.approx(8 * sizes[0] / size, abs=8 * 80 / size)
    assert rows["xz"].given == pytest.approx(8 * (sizes[1] - sizes[2]) / size, abs=8 * 20 / size)
    assert rows["xz"].given < rows["xz"].alone
    assert (measured.validation_bytes, measured.training_bytes) == (size, sum(map(len, training)))
    assert measured.all_training_bytes == measured.training_bytes


@pytest.mark.skipif(importlib.util.find_spec("pyppmd") is None, reason="pyppmd is not installed")
def test_ppmd_can_be_read_back_and_is_the_best_of_the_three(data: Path) -> None:
    import pyppmd

    text = JOINT.join(documents(data, "val"))
    encoder = pyppmd.Ppmd8Encoder(compressors.PPMD_ORDER, compressors.PPMD_MEMORY)
    packed = encoder.encode(text) + encoder.flush()
    assert pyppmd.Ppmd8Decoder(compressors.PPMD_ORDER, compressors.PPMD_MEMORY).decode(packed, len(text)) == text
    measured = measure(data)
    assert measured is not None
    ppmd = next(row for row in measured.rows if row.name.startswith("PPMd"))
    assert ppmd.alone == 8 * len(packed) / measured.validation_bytes
    assert ppmd.given == min(row.given for row in measured.rows)


def test_without_ppmd_the_others_are_measured(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    measured = measure(data)
    assert measured is not None
    assert [row.name for row in measured.rows] == ["xz", "bz2"]


def test_it_is_computed_once_for_the_same_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = measure(data, said.append)
    assert measure(data, said.append) == first
    assert len(said) == 1
    assert said[0].startswith("compressing")
    manifest = next(data.glob("*/manifest.json"))
    manifest.write_text(manifest.read_text().replace('"licence": "', '"licence": "other '))  # other data
    assert measure(data, said.append) == first
    (data / CACHE).write_text("{")
    assert measure(data, said.append) == first
    assert len(said) == 3
    monkeypatch.setattr(compressors, "MOST_TRAINING", 5000)
    assert measure(data, said.append) != first


def test_a_data_set_that_cannot_be_written_to_is_measured_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(compressors, "write_json", refuse)
    assert measure(data) is not None


def test_a_large_training_text_is_cut_in_proportion_to_its_corpora(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(data)
    assert whole is not None
    monkeypatch.setattr(compressors, "MOST_TRAINING", 6000)
    cut = measure(data)
    assert cut is not None
    assert 5900 <= cut.training_bytes <= 6000
    assert cut.all_training_bytes == whole.all_training_bytes
    assert cut.validation_bytes == whole.validation_bytes
    assert {row.name: row.alone for row in cut.rows} == {row.name: row.alone for row in whole.rows}


def test_the_report_sets_them_beside_the_model_unless_told_not_to(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", data=str(data))
    assert main(["report", str(tmp_path / "run"), "--compressors", "false"]) == 0
    page = tmp_path / "run" / "report.html"
    assert page.read_text().count("given the training text") == 0
    assert not (data / CACHE).exists()
    assert main(["report", str(tmp_path / "run")]) == 0
    measured = measure(data)
    assert measured is not None
    for row in measured.rows:
        assert f"{row.name}, given the training text</th>" in page.read_text()
        assert f'<td class="number">{row.given:.3f}</td><td class="number">{row.alone:.3f}</td>' in page.read_text()
    assert "compressing" in capsys.readouterr().err
