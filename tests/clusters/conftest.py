"""A real Slurm of two virtual nodes on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_of_two_nodes import PROGRAMS, SlurmOfTwoNodes


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmOfTwoNodes]:
    """Slurm, as Debian's packages slurm-wlm and munge bring it."""
    missing = [name for name in PROGRAMS if shutil.which(name, path="/usr/sbin:" + os.environ["PATH"]) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: install slurm-wlm and munge")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm's daemons")
    # munge refuses a folder that others may write to, also above its own, but for /tmp itself.
    folder = Path("/tmp") / f"slurm-{os.getpid()}"
    cluster = SlurmOfTwoNodes(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        patch.setenv("PATH", "/usr/sbin:" + os.environ["PATH"])
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)
