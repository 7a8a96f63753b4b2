"""Own notes need no reading: a dry run shows what a folder holds, and names fitting settings."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from small_texts import make_text

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.cli.command_line import main, parse
from gpt_research.data.shards import read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing import dry_run, room
from gpt_research.preprocessing.advice import better_settings, fitting_vocabulary
from gpt_research.preprocessing.card.kept import EXCERPT_TOKENS, SHOWN, kept_documents
from gpt_research.preprocessing.document import Unit
from gpt_research.preprocessing.formats.remedies import remedies
from gpt_research.preprocessing.pipeline import look_at, preprocess
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.settings import PreprocessConfig


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as people keep them; the working directory is its parent."""
    folder = tmp_path / "notes"
    (folder / "2024").mkdir(parents=True)
    for number in range(30):
        (folder / "2024" / f"{number:02d}.md").write_text(make_text(number, 40))
    (folder / "new.md").touch()
    for name in ("scan.pdf", "Paper.PDF", "letter.docx", "photo.jpg", "program.xyz"):
        (folder / name).write_bytes(b"\x00binary")
    monkeypatch.chdir(tmp_path)
    return folder


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_dry_run_shows_what_would_be_read_and_writes_nothing(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(notes.parent)
    assert main(["preprocess", "notes=notes", "--dry_run"]) == 0
    assert everything(notes.parent) == before
    shown = capsys.readouterr().err
    size = sum(path.stat().st_size for path in notes.rglob("*.md"))
    for expected in (
        "reader     files",
        f"files      31, {room.in_units(size)}",
        f"text       30 documents, {room.in_units(size)}",
        "dropped    1 empty_file",
        "left out   5 files of other kinds (2 .pdf, 1 .docx, 1 .jpg, 1 .xyz)",
        "To have .pdf too: pdftotext",
        "To have .docx too: pandoc",
        "first      2024/00.md (0)",
        f"| {make_text(0, 40).splitlines()[0]}",
        "--tokenizer train --vocab_size 512 --val_fraction 0.2",
        "Nothing was written",
    ):
        assert expected in shown


def test_the_suggested_command_fits_and_suggests_nothing_more(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess", "notes=notes", "--min_characters", "10", "--workers", "1"]) == 0
    said = capsys.readouterr().err
    assert "To have .pdf too" in said
    # The program may not be on the path, and then the command begins with its place.
    suggested = re.search(rf"fit better: ({re.escape(hints.command('preprocess'))} .*)", said)
    assert suggested is not None
    words = shlex.split(suggested[1])
    command = ["preprocess", *words[words.index("notes=notes") :]]
    assert parse("preprocess", command[1:]).min_characters == 10  # what the user chose stays
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "fit better" not in said
    manifest = next(iter(read_manifests(notes.parent / "data" / "tokens-2").values()))[1]
    assert manifest.count("val", "documents") >= 3
    assert manifest.drops == {"empty_file": 1}


@pytest.mark.parametrize(
    ("size", "vocabulary"), [(1, 512), (100_000, 512), (1_000_000, 1024), (11_000_000, 4096), (90_000_000, 8192)]
)
def test_a_vocabulary_grows_with_the_root_of_the_text(size: int, vocabulary: int) -> None:
    assert fitting_vocabulary(size) == vocabulary


def test_settings_that_fit_are_left_alone() -> None:
    assert better_settings(PreprocessConfig(), 10**10, 5_000_000) == {}
    fitting = PreprocessConfig(tokenizer="train", vocab_size=2048, val_fraction=0.1)
    assert better_settings(fitting, 1_000_000, 300) == {}
    assert better_settings(PreprocessConfig(tokenizer="char", val_fraction=0), 1_000_000, 300) == {}
    assert better_settings(PreprocessConfig(tokenizer="train"), 1_000_000, 300) == {
        "tokenizer": "train", "vocab_size": "1024", "val_fraction": "0.2",
    }  # fmt: skip
    # Much text in few documents: only the validation is too small.
    assert better_settings(PreprocessConfig(), 500_000_000, 300) == {"val_fraction": "0.1"}


def test_every_remedy_is_one_sentence_for_its_kinds() -> None:
    assert remedies([".pdf", ".xyz"]) == [
        "To have .pdf too: pdftotext FILE.pdf (of poppler-utils; a scanned page needs ocrmypdf first)."
    ]
    assert [line.partition(" too:")[0] for line in remedies([".docx", ".png", ".odt"])] == [
        "To have .docx and .odt",
        "To have .png",
    ]


def test_a_folder_of_nothing_but_pdf_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(UserError, match=r"1 \.pdf.*To have \.pdf too: pdftotext"):
        resolve(f"notes={tmp_path}").units()


def test_a_dry_run_names_the_field_and_estimates_what_it_did_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        rows = "".join(f'{{"id": {n}, "body": "{make_text(n, 2).strip()!r}"}}\n' for n in range(50))
        (tmp_path / f"{number}.jsonl").write_text(rows)
    config = PreprocessConfig(corpora=[f"notes={tmp_path}"], out=str(tmp_path.parent / "out"))
    [all_read] = look_at(config)
    assert (all_read.text_key, all_read.documents, all_read.exact) == ("body", 400, True)
    monkeypatch.setattr(dry_run, "LOOK_S", 0.0)
    [guessed] = look_at(config)
    assert not guessed.exact
    assert 0.5 < guessed.text_bytes / all_read.text_bytes < 2
    assert 200 < guessed.documents < 800


def test_a_dry_run_without_a_corpus_fetches_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["preprocess", "--dry_run"]) == 0
    assert "fetched with pip" in capsys.readouterr().err
    assert not everything(tmp_path)


@pytest.mark.parametrize(
    ("corpus", "out"),
    [
        ("notes=notes", "notes"),
        ("notes=notes", "notes/data/own"),
        ("notes=notes", "."),  # its tokens would be in ./notes
        ("own=.", "data/own"),
        ("own=link", "notes/data"),
    ],
)
def test_a_data_set_within_a_corpus_is_refused(notes: Path, corpus: str, out: str) -> None:
    os.symlink("notes", "link")
    before = everything(notes.parent)
    for run in (preprocess, look_at):
        with pytest.raises(UserError, match=r"within the corpus .* outside of it with --out"):
            run(PreprocessConfig(corpora=[corpus], out=out))
    assert everything(notes.parent) == before


def test_a_disk_without_room_is_refused_before_anything_is_written(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _: 1_000)
    config = PreprocessConfig(corpora=["notes=notes"], out="out", workers=1, tokenizer="train", vocab_size=300)
    with pytest.raises(UserError, match=r"out needs about .* kB .*, and its disk has 1\.0 kB free\. Free some space"):
        preprocess(config)
    assert not Path("out").exists()
    monkeypatch.setattr(room, "free_bytes", lambda _: 10**6)
    assert preprocess(config) is not None


def test_the_need_for_room_knows_compressed_files() -> None:
    plain = room.text_bytes([Unit("a.txt", 100)])
    assert plain == 100
    assert room.text_bytes([Unit("a.jsonl.zst", 100), Unit("b.tar.xz", 100)]) == 200 * room.PACKED
    assert room.text_bytes([Unit("a.xml.bz2", 100)], "wikipedia") < 100
    assert room.token_bytes(plain, 100_000) == 2 * room.token_bytes(plain, 50_257)


@pytest.mark.parametrize(
    ("name", "is_damage"),
    [(f"a.{suffix}", False) for suffix in ("txt", "md", "jsonl", "csv")] + [("a.txt.gz", True), ("a.parquet", True)],
)
def test_an_empty_file_is_no_damage_unless_its_form_cannot_be_empty(tmp_path: Path, name: str, is_damage: bool) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / name).touch()
    (tmp_path / "notes" / "b.txt").write_text(make_text(1, 40))
    config = PreprocessConfig(
        corpora=[f"notes={tmp_path / 'notes'}"], out=str(tmp_path / "out"), workers=1, tokenizer="train",
        vocab_size=300, strict=not is_damage,
    )  # fmt: skip
    prepared = preprocess(config)
    assert prepared is not None
    assert prepared.broken == ({"empty_file": 1} if is_damage else {})
    assert prepared.manifests["notes"].drops == {"empty_file": 1}


def test_the_card_shows_kept_documents_of_all_shards(text_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = {"tokenizer": "train", "vocab_size": 300, "val_fraction": 0.1, "tasks": 4, "workers": 1}
    preprocess(PreprocessConfig(corpora=[f"plays={text_folder}"], out=str(out), **settings))
    folder, manifest = read_manifests(out)["plays"]
    tokenizer = Tokenizer.load(out / "tokenizer.json")
    kept = kept_documents(folder, manifest, tokenizer.decode)
    assert len({document.source for document in kept}) == SHOWN
    for document in kept:
        whole = (text_folder / document.source).read_text()
        assert whole.startswith(document.text)
        assert len(tokenizer.encode(document.text)) == EXCERPT_TOKENS
        assert document.tokens == len(tokenizer.encode(whole.strip("\n") + "\n")) or document.tokens > EXCERPT_TOKENS
    page = (out / "data_card.html").read_text()
    for document in kept:
        assert " ".join(document.text.split())[:60] in page
    assert kept == kept_documents(folder, manifest, tokenizer.decode)
