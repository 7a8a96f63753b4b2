"""On Slurm and Ray the bytes are those of one machine, and the command knows its jobs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_of_two_nodes import SlurmOfTwoNodes

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(200)]

PLUGIN = '''
import time
from pathlib import Path
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document, Unit
from gpt_research.preprocessing.readers.catalogue import READERS


class NotesReader:
    """Reads a.notes at once, and b.notes when no file `hold` stands beside its folder."""

    name, licence = "notes", "Notes of my own."

    def units(self, root):
        return [Unit(path.name, path.stat().st_size) for path in sorted(root.glob("*.notes"))]

    def read(self, root, unit, options):
        while unit.path == "b.notes" and (root.parent / "hold").exists():
            time.sleep(0.1)
        if unit.path == "b.notes" and (root.parent / "spoil").exists():
            raise UserError("b.notes is wet")
        yield Document((root / unit.path).read_text(), unit.path, 0)


READERS["notes"] = NotesReader
'''


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Run:
    """A run of three tasks, one of which waits or fails if a file says so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes, self.out = folder, folder / "in", folder / "out"
        self.notes.mkdir()
        (folder / "plugin.py").write_text(PLUGIN)
        for name in "abc":
            (self.notes / f"{name}.notes").write_text(f"The note {name} says something of {name} to all.\n" * 3)

    def arguments(self, *flags: str, out: str = "out") -> list[str]:
        command = [sys.executable, "-m", "gpt_research", "preprocess", "--plugin", "plugin.py", "mine:notes=in"]
        command += ["--out", out, "--tasks", "3", "--workers", "2", "--val_fraction", "0", "--near_duplicates", "false"]
        return [*command, *flags]

    def command(self, *flags: str, out: str = "out") -> subprocess.CompletedProcess[str]:
        command = self.arguments(*flags, out=out)
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def begun(self, *flags: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self.arguments(*flags), cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def jobs(self) -> str:
        """Return the number that the run keeps of its jobs."""
        return (self.out / ".work" / "slurm" / "job").read_text()

    def on_slurm(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.command("--executor", "slurm", "--slurm_partition", "cpu", *flags)

    def matches_one_machine(self) -> bool:
        alone = self.command(out="alone")
        assert alone.returncode == 0, alone.stderr
        return contents(self.out) == contents(self.folder / "alone")

    def has_read(self, *ranks: int) -> bool:
        done = self.out / ".work" / "logs" / "read" / "completions"
        return all((done / f"{rank:05d}").exists() for rank in ranks)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def test_slurm_leaves_the_bytes_of_one_machine(slurm: SlurmOfTwoNodes, run: Run) -> None:
    done = run.on_slurm("--wait")
    assert done.returncode == 0, done.stderr
    assert "Wrote out" in done.stderr
    assert run.matches_one_machine()


def test_the_command_given_again_says_how_far_it_is_and_queues_nothing_twice(
    slurm: SlurmOfTwoNodes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "SUSPENDED")  # what a user sees otherwise changes nothing
    (run.folder / "hold").touch()
    first = run.on_slurm()
    assert first.returncode == 0, first.stderr
    assert "handed to Slurm as" in first.stderr
    wait_for(lambda: run.has_read(0, 2))
    again = run.on_slurm()
    assert "2 running; the stage read has 2 of 3 tasks done" in again.stderr
    monkeypatch.delenv("SQUEUE_STATES")
    assert len(slurm.ask("squeue", "--noheader", "--array", "--name=gpt-research-preprocess").splitlines()) == 2
    (run.folder / "hold").unlink()
    wait_for((run.out / "dataset.json").exists)
    assert "complete already" in run.on_slurm().stderr
    assert run.matches_one_machine()


def test_a_failed_task_is_named_with_its_log_and_done_again(slurm: SlurmOfTwoNodes, run: Run) -> None:
    (run.folder / "spoil").touch()
    done = run.on_slurm("--wait")
    log = Path("out", ".work", "logs", "read", "task_00001.log")
    assert done.returncode == 2
    assert "Task 1 of the stage read failed" in done.stderr
    assert f"b.notes is wet ({log})" in done.stderr
    assert "b.notes is wet" in (run.folder / log).read_text()
    (run.folder / "spoil").unlink()
    again = run.on_slurm("--wait")
    assert again.returncode == 0, again.stderr
    assert "What is missing was handed to Slurm" in again.stderr
    assert run.matches_one_machine()


def test_cancelled_jobs_are_named_and_what_is_missing_is_done(slurm: SlurmOfTwoNodes, run: Run) -> None:
    (run.folder / "hold").touch()
    run.on_slurm()
    wait_for(lambda: run.has_read(0, 2))
    slurm.ask("scancel", "--name=gpt-research-preprocess")
    wait_for(lambda: slurm.ask("squeue", "--noheader", "--name=gpt-research-preprocess") == "")
    (run.folder / "hold").unlink()
    again = run.on_slurm("--wait")
    assert "left the queue before the work was done" in again.stderr
    assert "they wrote at last: slurmstepd" in again.stderr
    assert again.returncode == 0, again.stderr
    assert run.matches_one_machine()


def test_who_waits_is_told_that_all_workers_were_killed(slurm: SlurmOfTwoNodes, run: Run) -> None:
    (run.folder / "hold").touch()
    with run.begun("--executor", "slurm", "--slurm_partition", "cpu", "--wait") as waiting:
        wait_for(lambda: run.has_read(0, 2))
        slurm.kill_processes(SLURM_ARRAY_JOB_ID=run.jobs())
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 2
    assert "Task 1 of the stage read was not finished: its worker was killed or cancelled." in said
    (run.folder / "hold").unlink()
    again = run.on_slurm("--wait")
    assert "What is missing was handed to Slurm" in again.stderr
    assert again.returncode == 0, again.stderr
    assert run.matches_one_machine()


def test_who_stops_waiting_is_told_that_the_jobs_go_on(slurm: SlurmOfTwoNodes, run: Run) -> None:
    (run.folder / "hold").touch()
    with run.begun("--executor", "slurm", "--slurm_partition", "cpu", "--wait") as waiting:
        wait_for(lambda: run.has_read(0, 2))
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=60)
    number = run.jobs()
    assert waiting.returncode == 130
    assert said.endswith(
        f"Stopped. The jobs {number} go on. The same command says how far; scancel {number} ends them.\n"
    )
    assert said.count("Stopped.") == 1
    alone = run.command()  # on this machine
    assert alone.returncode == 2
    assert f"The Slurm jobs {number} work on out already" in alone.stderr
    (run.folder / "hold").unlink()
    wait_for((run.out / "dataset.json").exists)


def test_jobs_that_would_wait_for_ever_are_cancelled(slurm: SlurmOfTwoNodes, run: Run) -> None:
    slurm.ask("scontrol", "update", "PartitionName=cpu", "MaxTime=60")
    try:
        run.on_slurm("--slurm_time", "2:00:00")
        wait_for(lambda: "(PartitionTimeLimit)" in slurm.ask("squeue", "--noheader"))
        again = run.on_slurm("--slurm_time", "1:00:00", "--wait")
        assert "would wait for ever: 2 pending (PartitionTimeLimit)." in again.stderr
        assert again.returncode == 0, again.stderr
        assert slurm.ask("squeue", "--noheader") == ""
        never = run.command(
            "--executor", "slurm", "--slurm_partition", "cpu", "--slurm_time", "2:00:00", "--wait", out="never"
        )
        assert never.returncode == 2
        assert "would wait for ever: 2 pending (PartitionTimeLimit)." in never.stderr
        assert slurm.ask("squeue", "--noheader") == ""
    finally:
        slurm.ask("scontrol", "update", "PartitionName=cpu", "MaxTime=INFINITE")


def test_the_others_take_the_work_of_a_worker_that_dies(
    slurm: SlurmOfTwoNodes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.folder / "hold").touch()
    run.on_slurm()
    wait_for(lambda: run.has_read(0, 2))
    holder = (run.out / ".work" / "logs" / "read" / "claims" / "00001").read_text().split()[1]
    slurm.ask("kill", "-TERM", holder)  # a worker that is told to stop gives its task back
    (run.folder / "hold").unlink()
    wait_for((run.out / "dataset.json").exists)
    assert run.on_slurm().returncode == 0
    assert run.matches_one_machine()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--slurm_partition", "nowhere"], "Slurm refuses the jobs: invalid partition specified: nowhere"),
        (["--slurm_options=--mem=900G"], "Slurm refuses the jobs: Memory specification can not be satisfied"),
    ],
)
def test_a_refusal_of_sbatch_is_its_sentence(slurm: SlurmOfTwoNodes, run: Run, flags: list[str], says: str) -> None:
    done = run.on_slurm(*flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_other_settings_do_not_touch_a_folder_that_jobs_work_on(slurm: SlurmOfTwoNodes, run: Run) -> None:
    (run.folder / "hold").touch()
    run.on_slurm()
    wait_for(lambda: run.has_read(0, 2))
    other = run.on_slurm("--min_characters", "21")
    assert other.returncode == 2
    assert "work on out with other settings" in other.stderr
    (run.folder / "hold").unlink()
    wait_for((run.out / "dataset.json").exists)


def test_ray_leaves_the_bytes_of_one_machine_and_names_a_failed_task(ray: None, run: Run) -> None:
    (run.folder / "spoil").touch()
    done = run.command("--executor", "ray")
    assert done.returncode == 2
    assert "Task 1 of the stage read failed: b.notes is wet" in done.stderr
    (run.folder / "spoil").unlink()
    (run.folder / "hold").touch()
    with run.begun("--executor", "ray") as waiting:
        wait_for(lambda: run.has_read(0, 2))
        waiting.terminate()
        _, said = waiting.communicate(timeout=60)
    assert (waiting.returncode, said.count("Stopped. Start the same command again")) == (143, 1)
    (run.folder / "hold").unlink()
    done = run.command("--executor", "ray")
    assert done.returncode == 0, done.stderr
    assert run.matches_one_machine()
