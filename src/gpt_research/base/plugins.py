"""Plugins: a researcher's own Python files, which add entries to the dictionaries of this project.

`--plugin FILE.py`, given to any command, runs the file before the command reads its settings. The
file adds what it brings, such as `POSITIONS["mine"] = MyPositions`. A run records the names and
hashes of the plugins that it was trained with; a later command asks for them again and never runs
code out of a run folder by itself.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256

LOADED: dict[str, Path] = {}
"""The plugins that this process has run: file name -> path."""


def load(path: Path | str) -> None:
    """Run a plugin file once in this process.

    Raises:
        UserError: there is no such file, it raises, or another plugin has the same file name.
    """
    path = Path(path).resolve()
    if LOADED.get(path.name) == path:
        return
    if path.name in LOADED:
        raise UserError(f"Two plugins are called {path.name}: {LOADED[path.name]} and {path}. Rename one of them.")
    if not path.is_file():
        raise UserError(f"There is no plugin file {path}. --plugin takes the path of a Python file.")
    name = f"gpt_research_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"The plugin {path} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickle and dataclasses look a class's module up by its name
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"The plugin {path} failed: {type(error).__name__}: {error}") from error
    LOADED[path.name] = path


def hashes() -> dict[str, str]:
    """Return the file name and the SHA-256 of each plugin that this process has run."""
    return {name: file_sha256(path) for name, path in LOADED.items()}


def require(recorded: Mapping[str, str], where: str) -> None:
    """Check that this process has run the plugins that `where` was made with.

    Raises:
        UserError: one is missing, or its file has changed.
    """
    now = hashes()
    for name, sha256 in recorded.items():
        if name not in now:
            raise UserError(f"{where} was made with the plugin {name}. Give it to this command too: --plugin {name}")
        if now[name] != sha256:
            raise UserError(
                f"{where} was made with another {name} (SHA-256 {sha256[:12]}, and {LOADED[name]} has "
                f"{now[name][:12]}). Give the plugin of that time to --plugin."
            )
