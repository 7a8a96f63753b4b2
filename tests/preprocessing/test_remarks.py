"""The command says what it left out, what gave nothing, and when validation says little."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main
from gpt_research.data.shards import Manifest, Shard, data_fingerprint, read_manifests
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.remarks import remarks

WORDS = ["one", "of", "the", "words", "that", "a", "text", "of", "some", "length", "has", "in", "it"]


def text(number: int) -> str:
    return " ".join(f"{word}{number * 7 + i}" for i, word in enumerate(WORDS))


def preprocess(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["preprocess", *arguments, "--workers", "1"])
    return code, " ".join(capsys.readouterr().err.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "more").mkdir(parents=True)
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").write_text(text(number))
    return tmp_path / "in"


def test_a_vocabulary_size_for_a_tokenizer_that_is_not_trained_changes_nothing_and_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["preprocess", f"own={folder}", "--dry_run", "--vocab_size", "8192"]
    said = {}
    for name in ("char", "train"):
        assert main([*given, "--tokenizer", name]) == 0
        said[name] = " ".join(capsys.readouterr().err.split())
    assert "vocab_size is 8,192, but only a tokenizer that is trained takes it. The tokenizer char" in said["char"]
    assert "only a tokenizer" not in said["train"]


def test_files_that_no_reader_takes_are_counted_by_kind(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.PDF", "b.pdf", "more/c.html", "plain", "_notes.txt", ".hidden", "more/1.txt.utf-8"):
        (folder / name).write_text(text(99))
    out = tmp_path / "out"
    code, said = preprocess(capsys, f"own={folder}", "--out", str(out))
    listed = "6 files of other kinds (2 .pdf, 1 .html, 1 .txt, 1 .utf-8, 1 no suffix)"
    assert (code, f"own: left out {listed}." in said) == (0, True)
    assert listed.replace("_", r"\_") in (out / "data_card.md").read_text()
    manifest = read_manifests(out)["own"][1]
    assert sum(manifest.left_out.values()) == 6
    assert manifest.documents_read == 6
    code, said = preprocess(capsys, f"own={folder}", "--out", str(out))
    assert (code, "complete already" in said, listed in said) == (0, True, True)


def test_a_folder_in_which_every_file_is_read_needs_no_word(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = preprocess(capsys, f"own={folder}", "--out", str(tmp_path / "out"))
    assert (code, "left out" in said) == (0, False)


def test_with_nothing_to_read_the_error_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(UserError, match=r"it holds 1 file of other kinds \(1 \.docx\)\. Readable are"):
        resolve(f"own={tmp_path}").units()


def test_files_left_out_do_not_change_what_a_run_knows_its_data_by() -> None:
    plain = Manifest("f", 300, "uint16", {"train": []})
    other = Manifest("f", 300, "uint16", {"train": []}, left_out={".pdf": 3})
    assert data_fingerprint({"a": plain}) == data_fingerprint({"a": other})


@pytest.mark.parametrize("content", ["<feed></feed>", ""])
def test_a_corpus_that_gave_nothing_does_not_end_well(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "abstract.xml").write_text(content)
    for _ in range(2):  # also where the data set is complete already
        code, said = preprocess(capsys, f"own={folder}", f"wikipedia={tmp_path / 'w'}", "--out", str(tmp_path / "out"))
        assert code == 3
        assert "Nothing is left of the corpus wikipedia:" in said
        assert "corpus own" not in said


def test_copies_of_another_corpus_leave_nothing_either(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = preprocess(capsys, f"own={folder}", f"copy={folder}", "--out", str(tmp_path / "out"))
    assert (code, "Nothing is left of the corpus copy: 6 exact_duplicate. Other corpora have" in said) == (3, True)


def split(documents: int, tokens: int) -> list[Shard]:
    return [Shard("x.bin", tokens, documents, 4 * tokens)]


@pytest.mark.parametrize(
    ("train", "val", "fraction", "says"),
    [
        ((400, 400_000), (1, 900), 0.005, "1 document, 900 tokens. Remedy: try --val_fraction 0.2."),
        ((4000, 4_000_000), (4, 20_000), 0.001, "4 documents, 20,000 tokens. Remedy: try --val_fraction 0.02."),
        ((9, 90_000), (1, 9000), 0.1, "try --val_fraction 0.2; add documents, or divide long texts"),
        ((9, 90_000), (2, 20_000), 0.2, "Remedy: add documents, or divide long texts"),
        ((40_000, 4_000_000), (200, 20_000), 0.005, ""),
        ((400, 400_000), (0, 0), 0.0, ""),
    ],
)
def test_a_validation_split_too_small_to_judge_by_is_warned_of(
    train: tuple[int, int], val: tuple[int, int], fraction: float, says: str
) -> None:
    manifest = Manifest("f", 300, "uint16", {"train": split(*train), "val": split(*val)})
    said = " ".join(remarks({"own": manifest}, fraction))
    assert says in said
    assert bool(said) == bool(says)


def test_names_that_are_not_utf8_are_shown_with_a_replacement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.fsencode(tmp_path) + b"/d\xe9"
    os.mkdir(folder)
    files = {b"a\xff.txt": text(1), b"b\xff.jsonl": json.dumps({"text": text(2)}) + "\n{bad\n", b"c.l\xffg": "x"}
    for name, content in files.items():
        Path(os.fsdecode(folder + b"/" + name)).write_text(content)
    out = tmp_path / "out"
    code, said = preprocess(capsys, f"own={os.fsdecode(folder)}", "--out", str(out), "--val_fraction", "0.001")
    assert (code, "(1 .l?g)" in said) == (3, True)
    manifest = read_manifests(out)["own"][1]
    assert manifest.drop_examples["invalid_json"][0]["source"] == "b?.jsonl"
    assert {source["path"] for source in manifest.sources} == {"a?.txt", "b?.jsonl"}
    for where, spec in ((b"maildir/in", "enron"), (b"books", "gutenberg")):
        os.makedirs(folder + b"/" + where)
        Path(os.fsdecode(folder + b"/" + where + b"/1\xff.txt")).write_text("From: a@b.c\nSubject: x\n\n" + text(3))
        root = os.fsdecode(folder + b"/" + where)
        assert preprocess(capsys, f"{spec}={root}", "--out", str(tmp_path / spec))[0] == 0


def test_a_small_validation_split_of_one_corpus_among_large_ones_is_warned_of() -> None:
    large = Manifest("f", 300, "uint16", {"train": split(40_000, 4_000_000), "val": split(200, 20_000)})
    small = Manifest("f", 300, "uint16", {"train": split(400, 400_000), "val": split(1, 900)})
    empty = Manifest("f", 300, "uint16", {"train": []}, reader="files")
    [of_small, of_empty] = remarks({"large": large, "small": small, "empty": empty}, 0.005)
    assert of_small.startswith("The validation split of small is too small to judge a model by: 1 document, 900 tokens")
    assert of_empty.startswith("Nothing is left of the corpus empty")


def test_a_lone_document_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text(text(1))
    main(["preprocess", f"own={tmp_path / 'a.txt'}", "--out", str(tmp_path / "out"), "--workers", "1"])
    [row] = [line.split("│") for line in capsys.readouterr().out.splitlines() if "own" in line]
    assert row[2].strip() == "1"
