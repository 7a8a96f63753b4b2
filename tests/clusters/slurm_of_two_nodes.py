"""Starts Slurm's own daemons for two virtual nodes of this machine, and can kill a node.

`python slurm_of_two_nodes.py FOLDER` is the cluster's end: it waits until its standard input is
closed, which also happens when the process that started it is killed, and then ends all daemons
and jobs of the cluster in FOLDER.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("n1", "n2")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
# The nodes need not be what the machine has.
SlurmdParameters=config_overrides
SlurmdTimeout=10
MinJobAge=600
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=0
DefMemPerCPU=500
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=n1,n2 PriorityTier=10 MaxTime=INFINITE State=UP
"""


class CannotStartError(Exception):
    """The daemons do not run on this machine; the text holds the last lines of their logs."""


class SlurmOfTwoNodes:
    """The daemons of a cluster, and its files in a folder of its own."""

    def __init__(self) -> None:
        # munge refuses a folder that others may write to, also above its own, but for /tmp itself.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=_place()))
        self.configuration = self.folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._end = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )

    def start(self) -> None:
        """Start the daemons, and wait until both nodes have done a job.

        Raises:
            CannotStartError: a daemon ends or does not come up, or no job runs.
        """
        self.folder.chmod(0o755)
        for name in ("state", "munge", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        try:
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            raise CannotStartError(f"the user {os.geteuid()} has no name") from None
        host = socket.gethostname().partition(".")[0]
        ports = [_free_port() for _ in range(3)]
        self.configuration.write_text(CONFIGURATION.format(host=host, user=user, ports=ports, folder=self.folder))
        munge = [f"--{name}={self.folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        self._launch("munged", ["munged", "--foreground", f"--key-file={key}", *munge])
        self._wait(lambda: (self.folder / "munge" / "socket").exists(), 20, "munged does not come up")
        self._launch("slurmctld", ["slurmctld", "-D"])
        for node in NODES:
            self.start_node(node)
        self._wait(self.is_idle, 60, "the nodes do not come up")
        self._run_a_job()

    def _run_a_job(self) -> None:
        """A node may be up on a machine that does not let it start the processes of a job."""
        out, script = (
            self.folder / "first.out",
            "#!/bin/sh\nsrun --ntasks=2 --ntasks-per-node=1 printenv SLURM_PROCID\n",
        )
        (self.folder / "first.sh").write_text(script)
        self.ask("sbatch", "--nodes=2", f"--output={out}", str(self.folder / "first.sh"))
        self._wait(lambda: sorted(_read(out).split()) == ["0", "1"], 40, "no job runs", out)
        self._wait(self.is_idle, 20, "a job does not end")

    def is_idle(self) -> bool:
        return self.ask("sinfo", "--noheader", "--partition=cpu", "--format=%D %T") == "2 idle"

    def start_node(self, node: str) -> None:
        self._launch(node, ["slurmd", "-D", "-N", node])

    def kill_node(self, node: str) -> None:
        """End a node as a loss of power would: its daemon and every process of its jobs."""
        daemon = self._daemons.pop(node)
        # Slurm tells each process of a job the name of its node. The parent of the first one is the
        # daemon that watches over the step.
        jobs = set(_processes_with(f"SLURM_CONF={self.configuration}", f"SLURMD_NODENAME={node}"))
        parents = {int(_read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[1]) for pid in jobs}
        watchers = {pid for pid in parents if _read(Path(f"/proc/{pid}/comm")).startswith("slurmstepd")}
        for pid in (daemon.pid, *watchers, *jobs):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def kill_processes(self, **variables: str) -> None:
        """Kill the processes of jobs that have these variables of Slurm's."""
        named = [f"{name}={value}" for name, value in variables.items()]
        for pid in _processes_with(f"SLURM_CONF={self.configuration}", *named):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask(self, *command: str) -> str:
        """Return what a command prints."""
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()

    def state(self, job: str) -> str:
        """Return the state of a job in Slurm's word, such as RUNNING or COMPLETED."""
        return self._field(job, "JobState")

    def restarts(self, job: str) -> int:
        return int(self._field(job, "Restarts") or 0)

    def _field(self, job: str, name: str) -> str:
        fields = self.ask("scontrol", "show", "job", "--oneliner", job).split()
        return next((field.partition("=")[2] for field in fields if field.startswith(f"{name}=")), "")

    def clear(self) -> None:
        """Cancel all jobs, and wait until both nodes are free."""
        for node in NODES:
            if node not in self._daemons:
                self.start_node(node)
        # Twice, because a script that gets the signal may put its job back into the queue.
        for _ in range(2):
            self.ask("scancel", f"--user={os.geteuid()}")
        self._wait(self.is_idle, 60, "the jobs do not end")

    def stop(self) -> None:
        """End the daemons and all that they started, and remove the folder."""
        self._end.communicate(timeout=60)
        for daemon in self._daemons.values():
            daemon.wait(timeout=10)

    def _launch(self, name: str, command: list[str]) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            environment = os.environ | {"SLURM_CONF": str(self.configuration)}
            try:
                self._daemons[name] = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
                )
            except OSError as error:
                raise CannotStartError(f"{name}: {error}") from None

    def _wait(self, condition: Callable[[], bool], seconds: float, trouble: str, *logs: Path) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                files = [self.folder / f"{name}.out" for name in ended or self._daemons]
                last = [f"{log.stem}: {line}" for log in (*files, *logs) for line in _read(log).splitlines()[-4:]]
                raise CannotStartError("\n".join([f"{', '.join(ended)} ended" if ended else trouble, *last]))
            time.sleep(0.2)


def _place() -> str | None:
    """Return a folder from which scripts may be run: Slurm keeps those of jobs in its own."""
    for place in (tempfile.gettempdir(), "/var/tmp", "/run"):
        with contextlib.suppress(OSError):
            if os.access(place, os.W_OK) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
                return place
    return None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _processes_with(*variables: str) -> Iterator[int]:
    """Yield the processes that were started with all of these variables."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and {*variables} <= {*_read(entry / "environ").split("\0")}:
            yield int(entry.name)


def _end_cluster(folder: Path) -> None:
    # Daemons and jobs alike know the cluster by this variable, and only this cluster has this file.
    for _ in range(50):
        processes = list(_processes_with(f"SLURM_CONF={folder}/slurm.conf"))
        if not processes:
            break
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _end_cluster(Path(sys.argv[1]))
