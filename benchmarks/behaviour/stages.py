"""The stages: what the product is asked to do, and what is kept of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from session import TIMED, VERSIONS, Session
from start_runs import (
    BENCHMARKS,
    DATA,
    EVERY_STEP,
    OTHER,
    SHAPE,
    START_RUNS,
    STEPS,
    ended_run,
    keep_run,
    place_run,
)

CORPORA = {
    "gutenberg": "gutenberg",
    "gutenberg_old": "gutenberg_old:gutenberg",
    "enron": "enron",
    "wikipedia": "wikipedia",
    "openwebtext": "openwebtext",
    "cnn": "cnn",
    "transweb": "transweb",
}
"""Folder of each corpus among the inputs, and what the command line calls it."""
PROMPT = "The president of the company said"


def preprocess(session: Session) -> None:
    """Prepare each corpus by itself, odd forms, all corpora with a tokenizer learnt from them, and
    with options.
    """

    def prepare(name: str, corpora: str, options: str, code: int = 0, **how: Any) -> None:
        command = f"{corpora} --out data/{name} {options}"
        command = command if how.get("program") else f"preprocess {command}"
        session.command(f"preprocess/{name}/output", command, code=code, **how)
        session.keep_folder(f"preprocess/{name}", session.work / "data" / name)

    def corpora(*names: str) -> str:
        return " ".join(f"{CORPORA[name]}=inputs/{name}" for name in names)

    looked_for = f"--benchmarks {BENCHMARKS}"
    for name in CORPORA:
        way = {"program": [str(session.checkout / "preprocessing.py")]} if name == "cnn" else {}  # the other way in
        prepare(name, corpora(name), looked_for, **way)
    forms = "own=inputs/own table:enron=inputs/forms/emails.csv mails:enron=inputs/forms/enron_mail.tar.gz"
    prepare("forms", f"{forms} web:openwebtext=inputs/forms/openwebtext.tar", f"{looked_for} --tasks 5", code=3)
    learnt = "--tokenizer train --vocab_size 1000 --contamination drop --val_fraction 0.05 --workers 1"
    prepare("learnt", f"own=inputs/own {corpora(*CORPORA)}", f"{learnt} {looked_for}", code=3)
    options = (
        "--keep_personal_data true --mail_header full --unwrap_paragraphs true --keep_disambiguation true "
        f"--near_duplicates false --min_characters 200 --seed 7 --tokenizer {DATA}/tokenizer.json"
    )
    prepare("options", corpora("enron", "wikipedia", "gutenberg_old"), options)


def train(session: Session) -> None:
    """Take every start run to its end, and one with a learning rate that breaks it."""
    for name in START_RUNS:
        ended_run(session, name)
    place_run(session, "fp32", "runs/broken")
    broken = "train --resume runs/broken --learning_rate 1e30 --grad_clip 0 --allow_change --eval_interval 0"
    session.command("train/broken/output", broken, code=2)
    keep_run(session, "train/broken", session.work / "runs" / "broken")


def fresh(session: Session) -> None:
    """Train from the seed; other first weights change this stage alone."""
    command = f"train --data {DATA} --out runs/fresh {SHAPE} {STEPS} {EVERY_STEP} --max_steps 4 --precision fp32"
    session.product(command)
    keep_run(session, "fresh", session.work / "runs" / "fresh")


def generate(session: Session) -> None:
    """Write with a run in all the ways that there are."""
    run = ended_run(session, "writer")
    asked = ("--prompt", PROMPT)

    def write(name: str, flags: str, *more: str, run: str = run, **how: Any) -> None:
        session.command(f"generate/{name}", f"generate {run} --device cpu {flags}", *more, **how)

    exact = "--precision fp32"
    write("greedy", f"{exact} --temperature 0 --max_new_tokens 50", *asked)
    write("greedy.json", f"{exact} --temperature 0 --max_new_tokens 50 --json", *asked)
    write(
        "beyond the context.json",
        f"{exact} --temperature 0 --max_new_tokens 100 --repetition_penalty 1.3 --json",
        *asked,
    )
    drawn = f"{exact} --seed 7 --max_new_tokens 40 --num_samples"
    write("drawn", f"{drawn} 3 --top_k 50 --top_p 0.9", *asked)
    write("drawn.json", f"{drawn} 4 --temperature 1.1 --min_p 0.02 --top_k 0 --stop . --json", *asked)
    write("int8.json", f"{exact} --weights int8 --temperature 0 --max_new_tokens 40 --json", *asked)
    write("int8 drawn", f"{exact} --weights int8 --seed 7 --max_new_tokens 40", *asked)
    write("bf16.json", "--precision bf16 --temperature 0 --max_new_tokens 40 --json", *asked)
    write("standard input", f"{exact} --temperature 0 --max_new_tokens 20 --prompt -", said=f"{PROMPT}\nthat “it")
    write("empty prompt", f"{exact} --seed 3 --max_new_tokens 20 --prompt=")
    session_of_lines = f"{PROMPT}\n\n/temperature 0.5\n/top_k 20\n/stop ,\nHe went\n/nonsense\n/quit\n"
    write("session", f"{exact} --seed 5 --max_new_tokens 16 --interactive", said=session_of_lines)
    write("llamacpp.json", "--engine llamacpp --temperature 0 --max_new_tokens 30 --json", *asked)
    write("llamacpp int8", "--engine llamacpp --weights int8 --temperature 0 --max_new_tokens 30", *asked)
    for path in sorted((session.work / run / "gguf").glob("*.gguf")):
        session.keep_file(f"generate/kept/{path.name}", path)
    for name in ("other", "fsdp"):
        place = ended_run(session, name)
        write(f"{name}.json", f"{exact} --temperature 0 --max_new_tokens 20 --json", *asked, run=place)


def evaluate(session: Session) -> None:
    """Score runs on the corpora and the benchmarks, and set them side by side."""
    writer, other = ended_run(session, "writer"), ended_run(session, "other")

    def score(name: str, run: str, flags: str) -> None:
        command = f"evaluate {run} --device cpu --json scores/{name}.json {flags}"
        session.command(f"evaluate/{name}/output", command)
        result = session.work / "scores" / f"{name}.json"
        session.keep_json_file(f"evaluate/{name}/evaluation.json", result, VERSIONS | TIMED)
        session.keep_file(f"evaluate/{name}/items.jsonl", result.with_suffix(".items.jsonl"))

    all_of_them = f"--benchmarks {BENCHMARKS} --limit 8 --max_tokens 8192"
    score("writer", writer, all_of_them)
    score("other", other, all_of_them)
    score("narrow", writer, f"--benchmarks {BENCHMARKS} --limit 8 --tasks wikitext2,lambada --context 48 --stride 24")
    score("trained-on", writer, "--split train --max_tokens 8192 --precision bf16 --batch_size 3")
    score("harness", writer, f"--benchmarks {BENCHMARKS} --limit 4 --tasks lambada,hellaswag --harness")
    pair = "compare scores/writer.json scores/other.json --json scores/compared.json"
    session.command("evaluate/compare/output", pair)
    session.keep_json_file("evaluate/compare/compared.json", session.work / "scores" / "compared.json")
    session.command("evaluate/compare 80%", "compare scores/writer.json scores/narrow.json --confidence 0.8")


def export(session: Session) -> None:
    """Write a run in each format, and make runs of what others wrote."""
    writer, other = ended_run(session, "writer"), ended_run(session, "other")

    def write(run: str, format: str, dtype: str, more: str = "") -> str:
        place = f"exported/{Path(run).name}-{format}-{dtype}"
        name = f"export/{Path(place).name}"
        session.command(f"{name}/output", f"export {run} --out {place} --format {format} --dtype {dtype} {more}")
        session.keep_folder(name, session.work / place)
        return place

    def read(name: str, source: str, more: str = "") -> None:
        place = f"runs/{name}"
        session.command(f"export/{name}/output", f"import {source} --out {place} {more}")
        keep_run(session, f"export/{name}", session.work / place)

    formats = {"hf": ("f32", "f16"), "gguf": ("f32", "f16", "bf16", "q8_0"), "safetensors": ("f32", "bf16")}
    for format, dtypes in formats.items():
        for dtype in dtypes:
            write(writer, format, dtype, "--license mit" if dtype == "f16" else "")
    write(other, "gguf", "f32")
    tokenizer = f"--tokenizer {DATA}/tokenizer.json"
    read("imported-hf", write(other, "hf", "f32"))
    read("imported-plain", write(other, "safetensors", "f32"))
    read("imported-tiny", "inputs/models/hf", tokenizer)
    read("imported-nanogpt", "inputs/models/ckpt.pt", f"{tokenizer} --allow_pickle")
    greedy = "generate runs/imported-tiny --device cpu --precision fp32 --temperature 0 --max_new_tokens 12 --json"
    session.command("export/imported-tiny/greedy.json", greedy, "--prompt", PROMPT)


def look(session: Session) -> None:
    """Ask the commands that only look, and make a few mistakes."""
    run = ended_run(session, "fp32")
    for token, corpus, more in ((0, "web", ""), (123_456, "enron", "--json"), (77, "enron", "--split val")):
        session.command(f"look/where {corpus} {token}", f"where {DATA} --corpus {corpus} --token {token} {more}")
    session.command("look/where step", f"where --run {run} --step 7")
    session.command("look/where step.jsonl", f"where --run {run} --step 12 --json")
    session.command("look/inspect", f"inspect {run} --verify")
    session.command("look/replay", f"replay {run} --step 7 --device cpu")
    session.command("look/replay bf16 dropout", f"replay {ended_run(session, 'bf16-dropout')} --step 11 --device cpu")
    session.command("look/print_config", f"train {SHAPE} {STEPS} --print_config")
    preset = str(session.checkout / "configs" / "gpt2-124m.yaml")
    session.command("look/print_config of the preset", "train --print_config --config", preset)
    plans = {"preset": f"--data {DATA}", "own": f"--data {DATA} --precision fp32 {SHAPE} {STEPS} {EVERY_STEP} {OTHER}"}
    for name, flags in plans.items():
        done = session.product(f"plan --seconds 0 --json --device cpu {flags}")
        plan = json.loads(done.stdout or "{}")
        session.keep_json(f"look/plan {name}.json", plan, {"free_disk_bytes"})
    proof = f"verify-resume --data {DATA} --out runs/proof {SHAPE} {STEPS} --max_steps 12 --steps 4 --precision fp32"
    session.command("look/verify-resume", proof)
    commands = ("preprocess", "doctor", "plan", "train", "generate", "verify-resume", "replay", "inspect", "export")
    for name in (*commands, "import", "where", "evaluate", "compare"):
        told = session.product(f"{name} --help").stdout
        flags = sorted(set(re.findall(r"^ +(?:-\w[^-]*, )?(--[\w.]+)", told, re.MULTILINE)))
        session.keep_text(f"look/flags of {name}", "\n".join(flags) + "\n")
    mistakes = {
        "no command": "trane",
        "no setting": "train --max_stepz 3",
        "no run": "generate runs/nowhere",
        "no corpus": "preprocess books=inputs/nowhere --out data/none",
        "no number": "train --max_steps many",
        "no rule": "train --tokens_per_step 1000",
        "taken": f"export {run} --out {run}",
        "other data": f"preprocess cnn=inputs/cnn --out {DATA}",
    }
    for name, command in mistakes.items():
        session.command(f"look/mistake {name}", command, code=2)


STAGES: dict[str, Callable[[Session], None]] = {
    stage.__name__: stage for stage in (preprocess, train, fresh, generate, evaluate, export, look)
}
