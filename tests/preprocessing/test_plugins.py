"""A reader that a plugin adds works in every process of a run, and the data set says which plugin
made it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_pipeline import config_of, documents

from gpt_research.base import plugins
from gpt_research.base.files import file_sha256
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.plan import make_plan
from gpt_research.preprocessing.readers.catalogue import resolve

PLUGIN = '''
from gpt_research.preprocessing.document import Document, Unit
from gpt_research.preprocessing.readers.catalogue import READERS


class NotesReader:
    """Notes divided by lines of ---."""

    name, licence = "notes", "Notes of my own."

    def units(self, root):
        return [Unit(path.name, path.stat().st_size) for path in sorted(root.glob("*.notes"))]

    def read(self, root, unit, options):
        for position, text in enumerate((root / unit.path).read_text().split("---\\n")):
            yield Document(text.strip(), unit.path, position)


READERS["notes"] = NotesReader
'''


@pytest.fixture
def notes(tmp_path: Path) -> tuple[Path, Path]:
    """A plugin file, and a folder that its reader reads."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "in" / f"{name}.notes").write_text(
            f"The first note of {name} is this.\n---\nAnd the second of {name}."
        )
    return tmp_path / "plugin.py", tmp_path / "in"


def command(plugin: Path, folder: Path, out: Path, workers: int) -> list[str]:
    arguments = ["preprocess", "--plugin", str(plugin), f"mine:notes={folder}", "--out", str(out), "--tasks", "3"]
    arguments += ["--workers", str(workers), "--near_duplicates", "false", "--val_fraction", "0.2"]
    return [sys.executable, "-m", "gpt_research", *arguments, "--tokenizer", "train", "--vocab_size", "257"]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_have_the_readers_of_plugins(notes: tuple[Path, Path], tmp_path: Path, workers: int) -> None:
    plugin, folder = notes
    subprocess.run(command(plugin, folder, tmp_path / "out", workers), check=True)
    texts = documents(tmp_path / "out", "mine", "train") + documents(tmp_path / "out", "mine", "val")
    assert len(texts) == 6
    assert "And the second of b." in texts
    manifest = json.loads((tmp_path / "out" / "mine" / "manifest.json").read_text())
    assert (manifest["reader"], manifest["licence"]) == ("notes", "Notes of my own.")
    assert manifest["options"]["plugins"] == {"plugin.py": file_sha256(plugin)}
    assert "--plugin plugin.py" in (tmp_path / "out" / "data_card.md").read_text().replace("\\", "")


def test_a_changed_plugin_makes_another_data_set(notes: tuple[Path, Path], tmp_path: Path) -> None:
    plugin, folder = notes
    subprocess.run(command(plugin, folder, tmp_path / "out", 1), check=True)
    subprocess.run(command(plugin, folder, tmp_path / "out", 1), check=True)
    plugin.write_text(PLUGIN + "\nCHANGED = True\n")
    again = subprocess.run(command(plugin, folder, tmp_path / "out", 1), capture_output=True, text=True)
    assert again.returncode == 2
    assert "data set of other settings (plugins:" in again.stderr


def test_a_run_without_plugins_does_not_mention_them(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path / "out", f"plays={text_folder}")
    plan = make_plan(config, [resolve(spec) for spec in config.corpora])
    assert "plugins" not in plan.as_json()
    assert "plugins" not in plan.options
    preprocess(config)
    assert "plugins" not in (tmp_path / "out" / "dataset.json").read_text()


def test_where_a_plugin_lies_does_not_matter(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path / "out", f"plays={text_folder}")
    digests = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("")
        monkeypatch.setattr(plugins, "LOADED", {"mine.py": tmp_path / folder / "mine.py"})
        digests.add(make_plan(config, [resolve(spec) for spec in config.corpora]).digest)
    monkeypatch.setattr(plugins, "LOADED", {})
    plain = make_plan(config, [resolve(spec) for spec in config.corpora]).digest
    assert len(digests) == 1
    assert plain not in digests
