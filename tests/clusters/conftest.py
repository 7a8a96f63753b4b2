"""A real Slurm of two virtual nodes on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from slurm_of_two_nodes import PROGRAMS, CannotStartError, SlurmOfTwoNodes


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[SlurmOfTwoNodes]:
    """Slurm, as Debian's packages slurm-wlm and munge bring it."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    if missing := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        pytest.skip(f"no {', '.join(missing)}: install slurm-wlm and munge")
    with pytest.MonkeyPatch.context() as patch:
        # The tests may run inside a job of another Slurm.
        for name in list(os.environ):
            if name.startswith(("SLURM", "SBATCH", "SRUN", "SALLOC", "SQUEUE", "SINFO", "SCANCEL", "SCONTROL")):
                patch.delenv(name)
        cluster = SlurmOfTwoNodes()
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        patch.setenv("PATH", path)
        try:
            cluster.start()
            yield cluster
        except CannotStartError as error:
            pytest.skip(f"Slurm cannot start here: {error}")
        finally:
            cluster.stop()


@pytest.fixture
def slurm(slurm_daemons: SlurmOfTwoNodes) -> Iterator[SlurmOfTwoNodes]:
    """The cluster without a job in it."""
    yield slurm_daemons
    slurm_daemons.clear()
