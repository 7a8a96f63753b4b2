"""Claims about TransWeb-Edu."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import ReadOptions
from gpt_research.preprocessing.readers.catalogue import resolve


def write(path: Path, texts: list[str], key: str = "text") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"id": "1", key: text}) + "\n" for text in texts))


def texts_of(root: Path, options: ReadOptions | None = None) -> list[str]:
    corpus = resolve(f"transweb={root}")
    return [item.text for unit in corpus.units() for item in corpus.read(unit, options or ReadOptions())]


def test_chunks_are_read(tmp_path):
    for chunk in range(3):
        write(tmp_path / f"en_chunk{chunk}.jsonl", [f"{chunk}.0", f"{chunk}.1"])
    assert texts_of(tmp_path) == ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]


@pytest.mark.parametrize("other", ["fr_chunk0.jsonl", "fr/chunk0.jsonl", "cy/part.jsonl"])
def test_other_languages_beside_english_are_passed_over(tmp_path, other):
    write(tmp_path / other, ["bonjour"])
    assert texts_of(tmp_path) == ["bonjour"]  # alone, it is what the user asked for
    write(tmp_path / "en_chunk0.jsonl", ["good day"])
    assert texts_of(tmp_path) == ["good day"]


def test_english_folder_is_chosen(tmp_path):
    write(tmp_path / "en" / "chunk0.jsonl", ["good day"])
    write(tmp_path / "de" / "chunk0.jsonl", ["guten Tag"])
    assert texts_of(tmp_path) == ["good day"]


def test_the_hub_form_is_read(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "train-00000.parquet")
    assert texts_of(tmp_path) == ["a", "b"]


def test_an_unknown_text_key_is_one_clear_error_and_can_be_named(tmp_path):
    write(tmp_path / "en_chunk0.jsonl", ["a"], key="translation")
    corpus = resolve(f"transweb={tmp_path}")
    with pytest.raises(UserError, match=r'"id", "translation".*--text_key'):
        corpus.check(corpus.units(), ReadOptions())
    options = ReadOptions(text_key="translation")
    corpus.check(corpus.units(), options)
    assert texts_of(tmp_path, options) == ["a"]
