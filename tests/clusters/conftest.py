"""A real Slurm of two virtual nodes on this machine, and a real Ray."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """Ray, which each command starts for itself."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        code = "import ray; ray.init(include_dashboard=False); ray.get(ray.remote(lambda: None).remote())"
        try:
            subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, timeout=90)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            last = "\n".join((error.stderr or b"").decode(errors="replace").splitlines()[-4:])
            pytest.skip(f"Ray cannot start here: {last or error}")
        yield
