"""A file is written whole or not at all, and what was there before survives a failure."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gpt_research.base.files import file_sha256, part_path, size_and_sha256, write_json, write_text, written_whole


def test_a_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "x").write_bytes(data)
    assert size_and_sha256(tmp_path / "x") == (len(data), hashlib.sha256(data).hexdigest())
    assert file_sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")
    with written_whole(path, durable=durable) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.name == ".x.json.part", "hidden, so that no reader takes it for a file"
    assert path.read_text() == "new"
    write_json(path, {"é": [1]}, durable=durable)
    assert path.read_bytes() == '{\n "é": [\n  1\n ]\n}\n'.encode()
    assert list(tmp_path.iterdir()) == [path]


def write_and_fail(path: Path, error: BaseException, *, folder: bool) -> None:
    with written_whole(path) as part:
        if folder:
            part.mkdir()
        (part / "a" if folder else part).write_text("half")
        raise error


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(RuntimeError):
        write_and_fail(path, RuntimeError(), folder=False)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_moved_or_removed_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(folder, KeyboardInterrupt(), folder=True)
    assert not list(tmp_path.iterdir())
    with written_whole(folder, durable=True) as part:
        part.mkdir()
        (part / "a").write_text("whole")
    assert (folder / "a").read_text() == "whole"
    assert not part_path(folder).exists()
