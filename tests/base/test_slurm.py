"""Processes that `srun` started know their ranks; all others are alone."""

from __future__ import annotations

import pytest

from gpt_research.base import slurm

STEP = {
    "SLURM_JOB_ID": "12",
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "n[1-3]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
}


def answers(*arguments: str) -> str:
    return {"hostnames": "n1\nn2\nn3\n", "node": "NodeName=n1 Arch=x86_64 NodeAddr=10.0.0.7 Port=6818"}[arguments[1]]


def test_the_variables_of_srun_are_those_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_scontrol", answers)
    assert slurm.torchrun_variables(STEP) == {
        "RANK": "4",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "5",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "25007",
    }
    chosen = slurm.torchrun_variables({**STEP, "MASTER_ADDR": "head", "MASTER_PORT": "29500"})
    assert (chosen["MASTER_ADDR"], chosen["MASTER_PORT"]) == ("head", "29500")


def test_no_two_steps_of_jobs_that_run_at_the_same_time_have_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_scontrol", answers)
    ports = [
        slurm.torchrun_variables({**STEP, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"]
        for job in range(1000, 1100)
        for step in range(10)
    ]
    assert len(set(ports)) == len(ports)


def test_torchrun_and_single_processes_are_left_alone() -> None:
    assert slurm.torchrun_variables({**STEP, "RANK": "0"}) == {}
    assert slurm.torchrun_variables({**STEP, "SLURM_STEP_NUM_TASKS": "1"}) == {}
    # A batch script has the variables of its job, but it is no step.
    assert slurm.torchrun_variables({"SLURM_JOB_ID": "12", "SLURM_NTASKS": "5", "SLURM_PROCID": "0"}) == {}


@pytest.mark.parametrize(
    ("nodes", "listed", "address"),
    [("n[1-3]", "", "n1"), ("gpu7,gpu9", "", "gpu7"), ("gpu7", "gpu7", "gpu7")],
)
def test_without_an_answer_of_slurm_the_name_of_the_first_node_is_its_address(
    nodes: str, listed: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_scontrol", lambda *arguments: listed if arguments[1] == "hostnames" else "")
    assert slurm.torchrun_variables({**STEP, "SLURM_STEP_NODELIST": nodes})["MASTER_ADDR"] == address


def test_the_short_form_of_tasks() -> None:
    assert slurm.tasks_of_nodes("2(x3),1") == [2, 2, 2, 1]
    assert slurm.tasks_of_nodes("8") == [8]
