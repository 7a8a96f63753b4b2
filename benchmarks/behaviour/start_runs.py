"""Runs that stopped early: how they are made, and how a stage takes them to their end."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from inputs import copy_folder
from session import TIMED, Session, without

BENCHMARKS = "inputs/benchmarks"
DATA = "data/mix"

SHAPE = "--model.n_layer 2 --model.n_head 4 --model.n_embd 64 --model.block_size 64"
STEPS = "--tokens_per_step 512 --micro_batch 4 --learning_rate 3e-3 --warmup_steps 2 --eval_tokens 2048 --device cpu"
EVERY_STEP = "--max_steps 12 --log_interval 1 --eval_interval 6 --save_interval 4 --keep_last 5"
OTHER = (
    "--model.positions sinusoidal --model.bias false --model.tie_weights false --schedule linear --loss_chunk 96 "
    "--gradient_checkpointing true --skip_spikes true --grad_clip 0.5 --weights.web 0.3 --weights.enron 0.7"
)


@dataclass(frozen=True)
class StartRun:
    """A run that is trained to its end once, then cut back to `start`, from where it is taken to
    its end again.
    """

    flags: str
    start: int = 4
    processes: int = 1


START_RUNS = {
    "fp32": StartRun(f"{EVERY_STEP} --precision fp32"),
    "fp32-dropout": StartRun(f"{EVERY_STEP} --precision fp32 --model.dropout 0.1 --mix_temperature 2"),
    "bf16": StartRun(f"{EVERY_STEP} --precision bf16"),
    "bf16-dropout": StartRun(f"{EVERY_STEP} --precision bf16 --model.dropout 0.1"),
    "fp16": StartRun(f"{EVERY_STEP} --precision fp16"),
    "fp16-dropout": StartRun(f"{EVERY_STEP} --precision fp16 --model.dropout 0.1"),
    "other": StartRun(f"{EVERY_STEP} --precision fp32 {OTHER}"),
    "ddp": StartRun(f"{EVERY_STEP} --precision fp32 --micro_batch 2 --parallel ddp", processes=2),
    "fsdp": StartRun(f"{EVERY_STEP} --precision fp32 --micro_batch 2 --parallel fsdp", processes=2),
    # long enough to write words: what is drawn, scored and exported comes from this one
    "writer": StartRun(
        "--max_steps 608 --log_interval 4 --eval_interval 304 --save_interval 4 --keep_last 3 --precision fp32 "
        "--learning_rate 1e-2 --warmup_steps 20",
        start=600,
    ),
}


def make_start_runs(session: Session, place: Path) -> None:
    """Prepare a data set, train each run to its end on it, and cut the runs back to where they
    begin again.
    """
    print(f"making the start runs {place}", flush=True)
    if place.exists():
        sys.exit(f"{place} holds no whole set of start runs. Name another folder, or delete that one.")
    root = session.work / "first"
    options = f"--tokenizer train --vocab_size 1000 --val_fraction 0.05 --benchmarks {BENCHMARKS}"
    session.product(f"preprocess web:openwebtext=inputs/openwebtext enron=inputs/enron --out {DATA} {options}")
    for name, run in START_RUNS.items():
        command = f"train --data {DATA} --out first/{name} {SHAPE} {STEPS} {run.flags}"
        session.product(command, processes=run.processes)
        cut_back(root / name, run.start)
    if session.surprises:
        sys.exit("The start runs could not be made.")
    (place / "data").mkdir(parents=True)
    shutil.move(session.work / DATA, place / DATA)
    shutil.move(root, place / "runs")
    files = sorted(path for path in place.rglob("*") if path.is_file())
    hashes = {path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (place / "made.json").write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


def cut_back(run: Path, step: int) -> None:
    """Leave of a run what it held at `step`."""
    for folder in (run / "checkpoints").glob("step_*"):
        if int(folder.name.removeprefix("step_")) > step:
            shutil.rmtree(folder)
    (run / "checkpoints" / "latest").write_text(f"step_{step:08d}\n", encoding="utf-8")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line + "\n" for line in lines if json.loads(line)["step"] <= step]
    (run / "metrics.jsonl").write_text("".join(kept), encoding="utf-8")
    for name in ("samples.txt", "loss.png", "owner.json"):
        (run / name).unlink(missing_ok=True)


def place_run(session: Session, name: str, place: str) -> None:
    """Copy a start run; its data set stands where its config says."""
    copy_folder(session.start_runs / "runs" / name, session.work / place)


def ended_run(session: Session, name: str) -> str:
    """Take a start run to its end if no stage did so before, keep what it then holds, and return
    its folder.
    """
    place = f"runs/{name}"
    if name not in session.ended:
        session.ended.add(name)
        place_run(session, name, place)
        processes = START_RUNS[name].processes
        if name == "fp32":  # the other way in
            session.product(f"--resume {place}", program=[str(session.checkout / "trainer.py")])
        else:
            session.product(f"train --resume {place}", processes=processes)
        keep_run(session, f"train/{name}", session.work / place)
    return place


def keep_run(session: Session, name: str, run: Path) -> None:
    """Keep what a run folder holds: settings, numbers without times, samples, curve and the
    checkpoints.
    """
    for file in ("config.yaml", "tokenizer.json", "samples.txt", "loss.png", "checkpoints/latest"):
        session.keep_file(f"{name}/{file}", run / file)
    if (run / "metrics.jsonl").is_file():
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        told = [json.dumps(without(json.loads(line), TIMED)) + "\n" for line in lines]
        session.keep_text(f"{name}/metrics.jsonl", "".join(told))
    for path in sorted((run / "checkpoints").glob("step_*/*")):
        keep = session.keep_json_file if path.suffix == ".json" else session.keep_file
        keep(f"{name}/{path.parent.name}/{path.name}", path)
    for path in sorted((run / "black_box").glob("*.json")):
        session.keep_json_file(f"{name}/black_box/{path.name}", path)
