"""Runs broken on purpose: killed, signalled, given bad numbers, other ranks, hostile files. What is
promised holds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint, checkpoint_path, load_checkpoint, load_newest, saved_steps
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics

WORKER = Path(__file__).parent / "worker.py"


def start(config: TrainConfig, until: int, *extra: str, ranks: int = 1) -> subprocess.Popen[str]:
    path = Path(config.out + ".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_yaml(config, path)
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    command = [*launcher, str(WORKER), str(path), str(until), *extra]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def finish(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str]:
    _, said = process.communicate(timeout=timeout)
    return process.returncode, said


def weights(run: str) -> dict[str, str]:
    found = load_newest(Path(run))
    assert found is not None
    tensors = {**found.model, **found.optimizer}
    return {name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in tensors.items()}


def losses(run: str) -> dict[int, float]:
    return {m["step"]: m["loss"] for m in read_metrics(Path(run)) if "loss" in m}


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def long_run(tiny_run: TrainConfig) -> TrainConfig:
    return dataclasses.replace(tiny_run, max_steps=600, save_interval=10, eval_interval=0)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_twenty_times_it_ends_as_if_never_killed(long_run: TrainConfig) -> None:
    whole = dataclasses.replace(long_run, out=long_run.out + "-whole")
    assert finish(start(whole, 600))[0] == 0
    rng, kills = random.Random(4), 0
    while kills < 20:
        begun = max([0, *saved_steps(Path(long_run.out))])
        target = begun + rng.randrange(11, 29)
        process = start(long_run, 600)
        wait_for(lambda target=target: max(losses(long_run.out), default=0) >= target, process)
        reached = max(losses(long_run.out))
        process.kill()
        finish(process)
        kills += 1
        saved = max([0, *saved_steps(Path(long_run.out))])
        # one interval, and the one whose save was still in the background
        assert reached - saved <= 2 * long_run.save_interval
    assert finish(start(long_run, 600))[0] == 0
    assert weights(long_run.out) == weights(whole.out)
    assert losses(long_run.out) == losses(whole.out)


KILL_A_SAVE = """
import os, sys, json, shutil, pathlib
import torch, safetensors.torch
from gpt_research.checkpoint.files import Checkpoint, load_newest
from gpt_research.checkpoint.saver import save_checkpoint

def make(step):
    return Checkpoint(step, {"w": torch.full((1000,), float(step))}, {"m": torch.full((10,), float(step))}, {})

def dies_at(number):
    count = [0]
    def wrap(function):
        def dying(*args, **kwargs):
            count[0] += 1
            if count[0] == number:
                os._exit(9)
            return function(*args, **kwargs)
        return dying
    os.fsync = wrap(os.fsync)
    os.open = wrap(os.open)
    safetensors.torch.save_file = wrap(safetensors.torch.save_file)
    shutil.rmtree = wrap(shutil.rmtree)
    for name in ("rename", "replace", "write_text", "mkdir"):
        setattr(pathlib.Path, name, wrap(getattr(pathlib.Path, name)))

root, results = pathlib.Path(sys.argv[1]), []
for number in range(1, 51):
    run = root / str(number)
    for step in (1, 2, 3):
        save_checkpoint(run, make(step), keep_last=2)
    child = os.fork()
    if child == 0:
        dies_at(number)
        save_checkpoint(run, make(3 + number % 2), keep_last=2)  # the same step again, or the next
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = load_newest(run)
    good = found.step in (2, 3, 4) and bool((found.model["w"] == found.step).all())
    save_checkpoint(run, make(5), keep_last=2)
    again = load_newest(run).step == 5 and not list((run / "checkpoints").glob(".*.part"))
    results.append([code, good, again])
print(json.dumps(results))
"""


@pytest.mark.faults
def test_a_save_killed_at_any_of_its_writes_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILL_A_SAVE, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    results = json.loads(result.stdout)
    assert len(results) == 50
    assert sum(code == 9 for code, _, _ in results) >= 15  # a save makes so many system calls that change something
    assert all(good and again for _, good, again in results)


@pytest.mark.faults
def test_a_nan_on_one_rank_skips_the_step_on_all(tiny_run: TrainConfig) -> None:
    code, said = finish(start(tiny_run, 12, "3,7", ranks=2))
    assert code == 0, said
    lines = read_metrics(Path(tiny_run.out))
    assert [m["step"] for m in lines if m.get("event") == "not_finite"] == [4, 8]
    found = load_newest(Path(tiny_run.out))
    assert found is not None
    assert found.state["skipped_steps"] == 2
    assert all(torch.isfinite(t).all() for t in found.model.values())


@pytest.mark.faults
def test_three_nans_in_a_row_on_one_rank_stop_all(tiny_run: TrainConfig) -> None:
    code, said = finish(start(tiny_run, 12, "5,6,7", ranks=2))
    assert code != 0
    assert "3 steps in a row" in said


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_signal_in_any_phase_saves_and_leaves_twenty_times(tiny_run: TrainConfig) -> None:
    alone = dataclasses.replace(tiny_run, max_steps=100_000, micro_batch=2, eval_interval=3, save_interval=2)
    rng = random.Random(8)
    for trial in range(20):
        ranks = 2 if trial % 4 == 3 else 1
        config = alone if ranks == 1 else dataclasses.replace(alone, out=alone.out + "-two-ranks")
        before = max(losses(config.out), default=0)
        process = start(config, 100_000, ranks=ranks)
        wait_for(lambda before=before, out=config.out: max(losses(out), default=0) > before, process)
        time.sleep(rng.random() * 0.3)
        number = rng.choice([signal.SIGTERM, signal.SIGINT])
        target = process.pid
        if ranks == 2:  # to one rank only
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            target, number = int(rng.choice(children)), signal.SIGTERM
        os.kill(target, number)
        sent_at = time.monotonic()
        code, said = finish(process, timeout=60)
        assert time.monotonic() - sent_at < 30
        assert code != 0, said
        reached, saved = max(losses(config.out)), max(saved_steps(Path(config.out)))
        assert saved >= reached
        load_checkpoint(checkpoint_path(Path(config.out), saved))
    # and what came of it is what an uninterrupted run gives
    end = max(saved_steps(Path(alone.out)))
    whole = dataclasses.replace(alone, out=alone.out + "-whole", eval_interval=0, save_interval=0)
    assert finish(start(whole, end))[0] == 0
    assert weights(alone.out) == weights(whole.out)
    assert losses(alone.out) == losses(whole.out)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_the_number_of_ranks_may_change_on_the_way(tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(
        tiny_run, model=dataclasses.replace(tiny_run.model, dropout=0.0), micro_batch=2, max_steps=20, eval_interval=0
    )
    whole = dataclasses.replace(config, out=config.out + "-whole")
    assert finish(start(whole, 20))[0] == 0
    for ranks, until in ((1, 5), (2, 10), (4, 15), (1, 20)):
        code, said = finish(start(config, until, ranks=ranks))
        assert code == 0, said
    one, two = losses(whole.out), losses(config.out)
    assert sorted(one) == sorted(two) == list(range(1, 21))
    for step in one:
        assert two[step] == pytest.approx(one[step], rel=1e-5), step


def test_out_of_memory_is_one_sentence_and_the_checkpoint_stays(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny_run, until=4)
    monkeypatch.setattr(GPT, "hidden", lambda self, tokens, cache=None: torch.empty(1 << 50))
    with pytest.raises(UserError, match=r"Out of memory with micro_batch 4.*--resume"):
        train(tiny_run)
    assert saved_steps(Path(tiny_run.out)) == [4]


def test_the_clock_may_go_back(tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9, 0, -86400))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    train(tiny_run)
    assert all(m["tokens_per_s"] > 0 and m["elapsed_s"] >= 0 for m in read_metrics(Path(tiny_run.out)) if "loss" in m)


def hostile(path: Path, data: bytes) -> None:
    """Put a file into a checkpoint with sums that fit, as an attacker would."""
    path.write_bytes(data)
    state_path = path.parent / "state.json"
    state = json.loads(state_path.read_text())
    state["files"][path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    state_path.write_text(json.dumps(state))


def header(entries: dict[str, object], payload: bytes = b"\0" * 16) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + payload


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        header({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        header(
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            }
        ),
        b"\x80\x04\x95cposix\nsystem\n(S'touch hacked'\ntR.",
        b"",
    ],
    ids=["header of 2^63", "header of 2^40", "huge tensor", "overlap", "pickle", "empty"],
)
def test_a_hostile_weights_file_is_refused_fast_and_cheaply(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = Checkpoint(1, {"w": torch.ones(2)}, {}, {})
    folder = save_checkpoint(tmp_path, saved, keep_last=1)
    hostile(folder / "model.safetensors", data)
    memory, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError, match="is damaged"):
        load_checkpoint(folder)
    assert time.monotonic() - begun < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # KB
    assert not (tmp_path / "hacked").exists()


def test_a_second_run_in_the_folder_is_refused_fast(tiny_run: TrainConfig) -> None:
    config = dataclasses.replace(tiny_run, max_steps=100_000, eval_interval=0, save_interval=0)
    process = start(config, 100_000)
    try:
        wait_for(lambda: losses(config.out), process)
        begun = time.monotonic()
        with pytest.raises(UserError, match=f"in use by process {process.pid}"):
            train(config)
        assert time.monotonic() - begun < 5
    finally:
        process.kill()
        finish(process)
    assert train(dataclasses.replace(config, max_steps=100_000), until=1).run == Path(config.out)
