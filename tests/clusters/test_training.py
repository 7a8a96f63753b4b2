"""The script of docs/training.md on a real Slurm: however a run is interrupted, it comes back by
itself and ends with the weights of an uninterrupted run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm_of_two_nodes import SlurmOfTwoNodes

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import checkpoint_path, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig
from gpt_research.training.metrics import read_metrics

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(540)]
DOCS = Path(__file__).parents[2] / "docs" / "training.md"
STEPS, SAVES_EVERY = 600, 5
# On a fast machine the run would end before its time does, so a file says how long a step waits.
PLUGIN = """
import os, time
from gpt_research.training.schedules import SCHEDULES

def paced(step, horizon):
    if os.path.exists(os.environ["SLOW"]):
        time.sleep(float(open(os.environ["SLOW"]).read()))
    return SCHEDULES["cosine"](step, horizon)

SCHEDULES["paced"] = paced
"""


def small_run(folder: Path, data: Path) -> list[str]:
    """Write the settings of a small run into a folder; return its arguments of `train`."""
    config = TrainConfig(
        data=str(data),
        out=str(folder / "run"),
        model=GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32, dropout=0.1),
        max_steps=STEPS,
        tokens_per_step=256,
        micro_batch=2,
        schedule="paced",
        learning_rate=3e-3,
        warmup_steps=2,
        log_interval=2,
        eval_interval=0,
        save_interval=SAVES_EVERY,
        precision="fp32",
        device="cpu",
    )
    write_yaml(config, folder / "run.yaml")
    (folder / "paced.py").write_text(PLUGIN)
    return ["--plugin", f"{folder}/paced.py", "--config", f"{folder}/run.yaml"]


def steps_taken(run: Path) -> int:
    return max((m["step"] for m in read_metrics(run)), default=0) if (run / "metrics.jsonl").exists() else 0


def last_weights(run: Path) -> bytes:
    return (checkpoint_path(run, STEPS) / "model.safetensors").read_bytes()


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what()}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Whole:
    """A run that nothing interrupted."""

    weights: bytes
    start_s: float
    """Seconds from the command to the first step."""


@pytest.fixture(scope="module")
def whole(slurm_daemons: SlurmOfTwoNodes, dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run on two ranks that `srun` alone starts, without a script and without torchrun."""
    folder = tmp_path_factory.mktemp("whole")
    train = [sys.executable, "-m", "gpt_research", "train", *small_run(folder, dataset_folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOW", str(folder / "no such file"))
        begun = time.monotonic()
        command = ["srun", "--nodes=2", "--ntasks-per-node=1", *train]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as srun:
            try:
                wait_for(lambda: steps_taken(folder / "run") > 0 or srun.poll() is not None, 100)
                start_s = time.monotonic() - begun
                said, _ = srun.communicate(timeout=200)
            finally:
                srun.kill()
    assert srun.returncode == 0, said
    assert "2 x " in said, "there were two ranks"
    return Whole(last_weights(folder / "run"), start_s)


class Job:
    """The documented script, made small, as a job in the queue."""

    def __init__(
        self, slurm: SlurmOfTwoNodes, folder: Path, data: Path, nodes: str = "--nodes=2 --ntasks-per-node=1",
        limit: str = "--time=01:00:00", step_s: float = 0.3,
    ) -> None:  # fmt: skip
        self.slurm, self.run, self.out, self.slow = slurm, folder / "run", folder / "job.out", folder / "slow"
        self.slow.write_text(str(step_s))
        script = re.search(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        assert script is not None
        text = script[1]
        for theirs, ours in (
            ("--nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8", nodes),
            ("--time=24:00:00 --signal=TERM@120", limit),
            ("--config gpt2-124m --micro_batch 16", " ".join(small_run(folder, data))),
        ):
            assert theirs in text, "the test knows another script than the page"
            text = text.replace(theirs, ours)
        (folder / "job.sh").write_text(text)
        exports = f"--export=ALL,SLOW={self.slow},PATH={Path(sys.executable).parent}:/usr/bin:/bin"
        self.number = slurm.ask("sbatch", "--parsable", exports, f"--output={self.out}", str(folder / "job.sh"))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        wait_for(
            condition,
            seconds,
            lambda: f"{self.state}, {self.restarts} restarts; {self.out.read_text() if self.out.exists() else ''}",
        )

    @property
    def state(self) -> str:
        return self.slurm.state(self.number)

    @property
    def restarts(self) -> int:
        return self.slurm.restarts(self.number)

    def trains_on(self) -> None:
        """Wait until it has taken and saved steps that it had not taken when this was called."""
        before = steps_taken(self.run)
        self.wait_for(lambda: self.state == "RUNNING" and self.saved() > before and steps_taken(self.run) > before + 5)

    def saved(self) -> int:
        return max(saved_steps(self.run), default=0)

    def begun_at(self) -> list[int]:
        """Return the steps at which it went on."""
        said = re.findall(r"Going on from step ([\d,]+)", self.out.read_text())
        return [int(step.replace(",", "")) for step in said]

    def ends_as(self, whole: Whole) -> None:
        self.slow.unlink()
        self.wait_for(lambda: self.state in ("COMPLETED", "FAILED", "TIMEOUT"), 200)
        assert self.state == "COMPLETED", self.out.read_text()
        assert last_weights(self.run) == whole.weights


def test_a_run_goes_on_by_itself_through_three_limits(
    slurm: SlurmOfTwoNodes, dataset_folder: Path, tmp_path: Path, whole: Whole
) -> None:
    # Slurm counts limits in minutes and looks at them every 30 seconds, so the signal may come 15
    # seconds after a start.
    minutes = 1 if whole.start_s < 8 else 2
    job = Job(slurm, tmp_path, dataset_folder, limit=f"--time={minutes} --signal=TERM@15", step_s=0.3 * minutes)
    saved = set()
    for limit in (1, 2, 3):
        job.wait_for(lambda limit=limit: job.restarts == limit, 60 * minutes + 60)  # type: ignore[misc]
        saved.add(job.saved())
    # On a busy machine the signal may come before a session has taken a step.
    assert len(saved - {0}) >= 2
    assert max(saved) < STEPS
    job.ends_as(whole)
    for step in saved - {0}:
        assert f"Stopped at step {step} of {STEPS}, saved." in job.out.read_text()
        assert step in job.begun_at(), "the next session went on from there"


def test_a_run_goes_on_after_a_signal_by_hand_and_the_loss_of_either_node(
    slurm: SlurmOfTwoNodes, dataset_folder: Path, tmp_path: Path, whole: Whole
) -> None:
    job = Job(slurm, tmp_path, dataset_folder)
    job.trains_on()
    slurm.ask("scancel", "--signal=TERM", job.number)
    job.wait_for(lambda: job.restarts == 1)
    assert job.saved() > 0
    for node, lost in (("n2", 1), ("n1", 2)):  # n1 has the script of the job
        job.trains_on()
        slurm.kill_node(node)
        job.wait_for(lambda lost=lost: job.restarts == 1 + lost)  # type: ignore[misc]
        slurm.start_node(node)
    job.trains_on()
    job.ends_as(whole)
    by_signal, *by_loss = job.begun_at()
    assert by_signal < by_loss[0] < by_loss[1]
    assert [step % SAVES_EVERY for step in by_loss] == [0, 0], "a lost node saves nothing at its end"


def test_a_preempted_run_on_one_node_comes_back(
    slurm: SlurmOfTwoNodes, dataset_folder: Path, tmp_path: Path, whole: Whole
) -> None:
    job = Job(slurm, tmp_path, dataset_folder, nodes="--nodes=1 --ntasks-per-node=2 --partition=cpu")
    job.trains_on()
    slurm.ask("sbatch", "--partition=urgent", "--nodes=2", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1")
    job.wait_for(lambda: job.restarts == 1)
    job.trains_on()
    job.ends_as(whole)
    (begun_at,) = job.begun_at()
    assert f"Stopped at step {begun_at} of {STEPS}, saved." in job.out.read_text()


def test_a_cancelled_run_saves_and_stays_cancelled(
    slurm: SlurmOfTwoNodes, dataset_folder: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path, dataset_folder)
    job.trains_on()
    slurm.ask("scancel", job.number)
    job.wait_for(lambda: job.state == "CANCELLED")
    assert job.saved() >= steps_taken(job.run) > 0
    time.sleep(1)
    assert (job.state, job.restarts) == ("CANCELLED", 0)


def test_a_mistake_does_not_come_back(slurm: SlurmOfTwoNodes, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path, tmp_path / "no data")
    job.wait_for(lambda: job.state == "FAILED")
    assert job.restarts == 0
    assert "No data set at" in job.out.read_text()


def test_a_run_of_which_one_rank_dies_fails_and_does_not_come_back(
    slurm: SlurmOfTwoNodes, dataset_folder: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path, dataset_folder)
    job.trains_on()
    slurm.kill_processes(SLURM_JOB_ID=job.number, SLURM_PROCID="1")
    job.wait_for(lambda: job.state == "FAILED")
    assert job.restarts == 0
