"""A disk that refuses a file costs one sentence, and what was computed is still shown."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from small_training import small_training

from gpt_research.base import files
from gpt_research.base.disk import as_os_error, cannot_write, dispensable
from gpt_research.base.errors import UserError
from gpt_research.base.files import AppendedLines, write_text
from gpt_research.cli import command_line as cli
from gpt_research.config import TrainConfig
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.training import loop, samples
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EROFS, "Read-only file system"), errno.EROFS),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), errno.ENOSPC),
        (OSError("262144 requested and 59392 written"), errno.ENOSPC),
    ],
)
def test_what_other_libraries_say_is_understood(error: Exception, number: int) -> None:
    assert as_os_error(error).errno == number


def test_the_sentence_has_file_reason_and_remedy() -> None:
    full, read_only = (OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EROFS))
    assert str(cannot_write("a/b", full)) == (
        "a/b could not be written (No space left on device). Free some space, and start again."
    )
    assert str(cannot_write("a/b", full, flag="--out", then="go on")) == (
        "a/b could not be written (No space left on device). Free some space or name another place with --out, "
        "and go on."
    )
    assert str(cannot_write("a/b", read_only, flag="--out")) == (
        "a/b could not be written (Read-only file system). That disk is read-only: name another place with --out, "
        "and start again."
    )


def test_a_refused_file_is_named_and_not_its_hidden_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"a\.txt") as unopened:
        write_text(tmp_path / "none" / "a.txt", "text")
    assert unopened.value.filename == str(tmp_path / "none" / "a.txt")
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match=r"a\.txt") as unwritten:
        write_text(tmp_path / "a.txt", "text")
    assert unwritten.value.filename == str(tmp_path / "a.txt")


def refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_lines_that_the_disk_refuses_are_written_later(tmp_path: Path) -> None:
    class Full:
        """A file with room for some bytes."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 7

        def write(self, data: bytes) -> int:
            if not self.room:
                refuse()
            written = self.file.write(data[: self.room])
            self.room -= written
            return written

    lines = AppendedLines(tmp_path / "a")
    file, lines._file = lines._file, Full(lines._file)  # type: ignore[assignment]
    lines.write("one\n")
    for text in ("two\n", "three\n"):
        with pytest.raises(OSError, match="No space"):
            lines.write(text)
    lines._file = file
    lines.write("four\n")
    lines.close()
    assert (tmp_path / "a").read_text() == "one\ntwo\nthree\nfour\n"


def test_a_dispensable_file_is_a_warning(tmp_path: Path) -> None:
    expected = r"a.png could not be written \(No space left on device\). Free some space;"
    with pytest.warns(UserWarning, match=expected), dispensable(tmp_path / "a.png"):
        refuse()


@pytest.fixture(scope="module")
def run(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(small_training(dataset_folder, out=str(out), max_steps=2))
    return out


# A limit of the size of files is a real disk that refuses, for any user and on any file system.
LIMITED = """
import resource, sys
from gpt_research.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
sys.exit(main())
"""


def limited(size: int, *arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run a command that may write no file of more than `size` bytes."""
    command = [sys.executable, "-c", LIMITED, str(size), *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120)


def assert_one_sentence(done: subprocess.CompletedProcess[str], file: Path | str, reason: str) -> None:
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: {file} could not be written ({reason}). "), done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def test_scores_are_shown_although_their_file_is_refused(run: Path, tmp_path: Path) -> None:
    done = limited(1, "evaluate", str(run), "--json", str(tmp_path / "e.json"), "--device", "cpu")
    assert_one_sentence(done, tmp_path / "e.json", "File too large")
    assert "perplexity" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["safetensors", "gguf", "hf"])
def test_an_export_that_does_not_fit_leaves_nothing(
    run: Path, tmp_path: Path, format: str, monkeypatch, capsys
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        assert cli.main(["export", str(run), "--out", str(tmp_path / "out"), "--format", format]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"error: {tmp_path / 'out'} could not be written (" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_standard_output_that_is_full_is_named(run: Path) -> None:
    with open("/dev/full", "w") as full:
        done = limited(10**9, "inspect", str(run), stdout=full)
    assert_one_sentence(done, "Standard output", "No space left on device")
    assert len(done.stderr.splitlines()) == 1


def refuse_once(real: Any, is_it: Any) -> Any:
    """Return a function that fails the first time that it is called with such arguments."""
    calls: list[bool] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        if not calls and is_it(*args):
            calls.append(True)
            refuse()
        return real(*args, **kwargs)

    return call


def test_a_run_goes_on_without_the_files_that_it_can_do_without(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ["metrics.jsonl", "loss.png", "samples.txt"]
    monkeypatch.setattr(loop, "REDRAW_S", 0.0)  # so that the picture is drawn again
    monkeypatch.setattr(AppendedLines, "_write", refuse_once(AppendedLines._write, lambda lines: True))
    monkeypatch.setattr(files, "part_path", refuse_once(files.part_path, lambda path: path.name == "loss.png"))
    monkeypatch.setattr(samples, "open", refuse_once(open, lambda path, *_: path.name == "samples.txt"), raising=False)
    with pytest.warns(UserWarning, match="could not be written") as warned:
        train(tiny_run)
    said = " ".join(str(warning.message) for warning in warned)
    run = Path(tiny_run.out)
    for name in named:
        assert f"{run / name} could not be written (No space left on device)" in said
        assert (run / name).is_file()
    # No line is lost, because it is written with the next one.
    assert [line["step"] for line in read_metrics(run) if "grad_norm" in line] == list(range(1, 13))


@pytest.mark.parametrize("file", ["data_card.html", "manifest.json", "00000.npy", "train_00000.parquet"])
def test_preprocessing_goes_on_where_the_disk_refused(
    text_folder: Path, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PreprocessConfig(
        corpora=[f"plays={text_folder}"], out=str(tmp_path / "out"), tokenizer="train", vocab_size=300, workers=1
    )
    real = files.part_path
    with monkeypatch.context() as full:
        full.setattr(files, "part_path", lambda path: refuse() if path.name == file else real(path))
        with pytest.raises(UserError, match=r"out could not be written \(No space.*what is done stays"):
            preprocess(config)
    prepared = preprocess(config)
    assert prepared is not None
    assert prepared.manifests["plays"].count("train") > 0
