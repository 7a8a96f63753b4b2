"""Commands that a message may tell the user to type: they work as they stand, here and now.

How this program is started depends on how it was installed: its script may be on the path, or only
in the environment of `make demo`, or there may be none, in a clone whose requirements alone are
installed. `command` and `install` look, so that no other code spells a command out.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlparse

PROGRAM = "gpt-research"
SOURCE = Path(__file__).parents[2]
"""The folder that holds the package: `src` in a clone."""
LAUNCHERS = {"train": "trainer.py", "preprocess": "preprocessing.py", "generate": "src/generate.py"}
"""Scripts of a clone that need no installation."""


def command(*arguments: object) -> str:
    """Return a command line of this program that works in the working directory.

    Args:
        arguments: the command and its arguments; they are quoted for the shell.
    """
    words = [shlex.quote(str(argument)) for argument in arguments]
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    script = _script()
    launcher = SOURCE.parent / LAUNCHERS.get(words[0], "")
    if processes != "1" and words[0] == "train":
        program = f"torchrun --nproc_per_node {processes} -m gpt_research"
    elif script is not None:
        program = script
    elif launcher.is_file():
        program, words = f"{python()} {shlex.quote(_shown(launcher))}", words[1:]
    else:
        program = f"{_package_path()}{python()} -m gpt_research"
    return " ".join([program, *words])


def install(extra: str, missing: str) -> str:
    """Return the command that installs an extra of this package, such as `export`.

    The package is not on the index. So a clone installs itself with the extra, and an installed
    wheel gets the packages of the extra by their own names.

    Args:
        missing: the package that was looked for; it stands in if the extra's packages are unknown.
    """
    clone = _clone()
    if clone is not None:
        target = f".[{extra}]" if _shown(clone) == "." else f"{_shown(clone)}[{extra}]"
        return f'{python()} -m pip install -e "{target}"'
    try:
        needed = importlib.metadata.requires(PROGRAM) or []
    except importlib.metadata.PackageNotFoundError:
        needed = []
    own = re.compile(rf"""(.+?)\s*;.*\bextra\s*==\s*["']{re.escape(extra)}["']""")
    packages = [match[1] for line in needed if (match := own.fullmatch(line))] or [missing]
    quoted = " ".join(f'"{package}"' for package in packages)
    return f"{python()} -m pip install {quoted}"


def install_package(package: str) -> str:
    """Return the command that installs a package of the index."""
    return f"{python()} -m pip install {shlex.quote(package)}"


def install_torch(version: str, index: str) -> str:
    """Return the command that takes torch from another index, such as that of CUDA 12.6.

    Args:
        version: of the torch that is installed, which stays the same.
    """
    clone = _clone()
    if clone is not None and (clone / "Makefile").is_file():
        where = "" if _shown(clone) == "." else f" -C {shlex.quote(_shown(clone))}"
        return f"make{where} install TORCH_INDEX={index}"
    return f"{python()} -m pip install --force-reinstall torch=={version.partition('+')[0]} --index-url {index}"


def install_exactly(package: str) -> str:
    """Return the command that puts one version of a package in place, and nothing else."""
    return f"{python()} -m pip install --force-reinstall --no-deps {package}"


def python() -> str:
    """Return the running interpreter as one types it."""
    running = Path(sys.executable or "python")
    for name in ("python", "python3"):
        found = shutil.which(name)
        if found and _same_place(Path(found), running):
            return name
    return shlex.quote(_shown(running))


def _package_path() -> str:
    """Return the variable that tells Python where a package is that is not installed."""
    told = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return "" if str(SOURCE) in told or _is_installed() else f"PYTHONPATH={shlex.quote(_shown(SOURCE))} "


def _script() -> str | None:
    """Return the installed script as one types it; None if this environment has none."""
    running = Path(sys.argv[0])
    if running.name != PROGRAM or not running.is_file():
        running = Path(sys.executable).with_name(PROGRAM)
        if not running.is_file():
            return None
    found = shutil.which(PROGRAM)
    if found and _same_place(Path(found), running):
        return PROGRAM
    return shlex.quote(_shown(running))


def _clone() -> Path | None:
    """Return the clone that this package is run from; None if it was installed from a wheel."""
    settings = SOURCE.parent / "pyproject.toml"
    if settings.is_file() and tomllib.loads(settings.read_text("utf-8")).get("project", {}).get("name") == PROGRAM:
        return SOURCE.parent
    # An editable installation knows its folder.
    try:
        address = importlib.metadata.distribution(PROGRAM).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    origin = json.loads(address) if address else {}
    folder = Path(unquote(urlparse(origin.get("url", "")).path))
    editable = origin.get("dir_info", {}).get("editable", False)
    return folder if editable and (folder / "pyproject.toml").is_file() else None


def _is_installed() -> bool:
    """Return whether the interpreter finds the package without help."""
    try:
        importlib.metadata.distribution(PROGRAM)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _same_place(a: Path, b: Path) -> bool:
    # The interpreters of two environments may be links to one file, so the folders count too.
    return os.path.abspath(a.parent) == os.path.abspath(b.parent) and os.path.realpath(a) == os.path.realpath(b)


def _shown(path: Path) -> str:
    """Return a path relative to the working directory if it is below it, else as it is."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working directory was removed
        return str(path)
    path = Path(os.path.abspath(path))
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
