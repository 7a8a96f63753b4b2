"""The script of docs/training.md, on two nodes: it saves before its time ends, comes back by
itself, and ends with the weights of an uninterrupted run.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rank_launcher import train_on_ranks
from slurm_of_two_nodes import SlurmOfTwoNodes

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import checkpoint_path, saved_steps
from gpt_research.config import TrainConfig
from gpt_research.training.metrics import read_metrics

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(580)]
DOCS = Path(__file__).parents[2] / "docs" / "training.md"


class Job:
    """The documented script, made small, as a job in the queue."""

    def __init__(self, slurm: SlurmOfTwoNodes, folder: Path, config: TrainConfig, limit: str) -> None:
        self.slurm, self.run, self.out = slurm, Path(config.out), folder / "job.out"
        write_yaml(config, folder / "run.yaml")
        script = re.search(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        assert script is not None
        text = script[1]
        for ours, theirs in (
            ("--nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8", "--nodes=2 --ntasks-per-node=1"),
            ("--time=24:00:00 --signal=TERM@120", limit),
            ("--config gpt2-124m --micro_batch 16", f"--config {folder}/run.yaml"),
        ):
            assert ours in text, "the test knows another script than the page"
            text = text.replace(ours, theirs)
        (folder / "job.sh").write_text(text)
        self.number = slurm.ask("sbatch", "--parsable", f"--output={self.out}", str(folder / "job.sh"))

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.state, self.out.read_text()[-3000:] if self.out.exists() else "")
            time.sleep(0.3)

    @property
    def state(self) -> str:
        return self.slurm.state(self.number)

    def reaches(self, step: int) -> bool:
        file = self.run / "metrics.jsonl"
        return file.exists() and any(m["step"] >= step for m in read_metrics(self.run))

    def saved(self) -> int:
        return max(saved_steps(self.run), default=0)


def test_the_documented_script_comes_back_after_limit_signal_and_loss_of_a_node(
    slurm: SlurmOfTwoNodes, tiny_run: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = dataclasses.replace(
        tiny_run, max_steps=6000, eval_interval=0, save_interval=500, micro_batch=2, warmup_steps=2, log_interval=50
    )
    job = Job(slurm, tmp_path, config, "--time=00:01:00 --signal=TERM@40")
    job.wait_until(lambda: slurm.restarts(job.number) == 1, 120)
    at_limit = job.saved()
    assert 0 < at_limit < config.max_steps, "the limit came, and the newest step was saved"
    assert at_limit % config.save_interval != 0
    # The next signal comes by hand, sooner than that of the limit.
    job.wait_until(lambda: job.state == "RUNNING" and job.reaches(at_limit + 50), 120)
    slurm.ask("scancel", "--signal=TERM", job.number)
    job.wait_until(lambda: slurm.restarts(job.number) == 2, 60)
    by_signal = job.saved()
    assert by_signal > at_limit
    job.wait_until(lambda: job.state == "RUNNING" and job.reaches(by_signal + 50), 120)
    slurm.kill_node("n2")
    job.wait_until(lambda: slurm.restarts(job.number) == 3, 120)
    slurm.start_node("n2")
    job.wait_until(lambda: job.state == "COMPLETED", 300)
    whole = dataclasses.replace(config, out=config.out + "-whole")
    train_on_ranks((whole, 2, config.max_steps))
    ours, theirs = (checkpoint_path(Path(c.out), config.max_steps) / "model.safetensors" for c in (config, whole))
    assert ours.read_bytes() == theirs.read_bytes()
