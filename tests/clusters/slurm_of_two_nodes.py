"""Starts Slurm's own daemons for two virtual nodes of this machine, and can kill a node."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("n1", "n2")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A credential that lives for seconds lets a requeued job begin at once.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdTimeout=10
MinJobAge=600
ReturnToService=2
SchedulerParameters=sched_interval=2
DefMemPerCPU=500
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class SlurmOfTwoNodes:
    """The daemons of a cluster, and its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.configuration = folder, folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the daemons, and wait until both nodes can take jobs."""
        for name in ("state", "munge", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        user = pwd.getpwnam("munge")
        key = self.folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for path in (key, self.folder / "munge"):
            os.chown(path, user.pw_uid, user.pw_gid)
        for path in (self.folder, self.folder / "munge"):
            path.chmod(0o755)
        ports = [_free_port() for _ in range(3)]
        host = socket.gethostname().partition(".")[0]
        self.configuration.write_text(CONFIGURATION.format(host=host, ports=ports, folder=self.folder))
        munge = [f"--{name}={self.folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        as_munge = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._launch("munged", ["munged", "--foreground", f"--key-file={key}", *munge], **as_munge)
        _wait(lambda: (self.folder / "munge" / "socket").exists(), 20, "munged")
        self._launch("slurmctld", ["slurmctld", "-D"])
        for node in NODES:
            self.start_node(node)
        _wait(lambda: self.ask("sinfo", "--noheader", "--format=%D %T") == "2 idle", 60, "the nodes")

    def start_node(self, node: str) -> None:
        self._launch(node, ["slurmd", "-D", "-N", node])

    def kill_node(self, node: str) -> None:
        """End a node as a loss of power would: its daemon and every process of its jobs."""
        daemon = self._daemons.pop(node)
        doomed = [daemon.pid]
        for entry in Path("/proc").iterdir():
            # Slurm tells each process of a job the name of its node. The parent of the first one is
            # the daemon that watches over the step.
            if entry.name.isdigit() and f"SLURMD_NODENAME={node}\0" in _read(entry / "environ"):
                parent = _read(entry / "stat").rpartition(")")[2].split()[1]
                watches = _read(Path("/proc") / parent / "comm").startswith("slurmstepd")
                doomed += [int(entry.name), *([int(parent)] if watches else [])]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def ask(self, *command: str) -> str:
        """Return what a command prints."""
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def state(self, job: str) -> str:
        """Return the state of a job in Slurm's word, such as RUNNING or COMPLETED."""
        return self._field(job, "JobState")

    def restarts(self, job: str) -> int:
        return int(self._field(job, "Restarts") or 0)

    def _field(self, job: str, name: str) -> str:
        fields = self.ask("scontrol", "show", "job", "--oneliner", job).split()
        return next((field.partition("=")[2] for field in fields if field.startswith(f"{name}=")), "")

    def stop(self) -> None:
        self.ask("scancel", "--user=root")
        time.sleep(1)
        for daemon in reversed(list(self._daemons.values())):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _launch(self, name: str, command: list[str], **options: object) -> None:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = os.environ | {"SLURM_CONF": str(self.configuration)}
        self._daemons[name] = subprocess.Popen(command, env=environment, **quiet, **options)  # type: ignore[call-overload]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up in {seconds} seconds")
        time.sleep(0.2)
