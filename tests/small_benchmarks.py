"""Benchmarks of full length in a small language: what a small model can be evaluated on in seconds."""

from __future__ import annotations

import bz2
import json
import random
from pathlib import Path

THINGS = ["crown", "sword", "letter", "horse"]


def sentence(rng: random.Random) -> str:
    who = rng.choice(["the king", "a fool", "my lord", "the queen"])
    return f"{who} {rng.choice(['takes', 'gives', 'loves'])} the {rng.choice(THINGS)}"


def write_benchmarks(folder: Path) -> Path:
    """Fill a folder as `--benchmarks` takes it, and return it."""
    rng = random.Random(2)
    for name in ("wikitext2", "lambada", "hellaswag"):
        (folder / name).mkdir(parents=True)
    (folder / "wikitext2" / "wiki.test.raw").write_text(wikitext_file(rng), encoding="utf-8")
    rows = [{"text": ". ".join(sentence(rng) for _ in range(rng.randrange(1, 8)))} for _ in range(5153)]
    # Two odd passages, after those that tests with few items take: in a mean of 20 they would outweigh all others.
    rows[33] = {"text": "Queen"}  # nothing before the word
    rows[34] = {"text": "my lord \n\tloves the  letter"}
    (folder / "lambada" / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    text = "".join(hellaswag_task(rng) for _ in range(10042))
    (folder / "hellaswag" / "val.txt.bz2").write_bytes(bz2.compress(text.encode()))
    return folder


def wikitext_file(rng: random.Random) -> str:
    """Return 4,358 lines with articles, sections, a formula that looks like a heading, and letters beyond ASCII."""
    lines = [" "]
    while len(lines) < 4358:
        lines += [f" = The Crown № {len(lines)} = ", " "]
        for _ in range(rng.randrange(1, 6)):
            lines += [" = = Section = = ", " ", f" {sentence(rng)} , and {sentence(rng)} – née . "]
        lines += [" = 1 henry and C = ", " "]
    return "\n".join([*lines[:4356], " the end . ", " "]) + "\n"


def hellaswag_task(rng: random.Random) -> str:
    """Return six lines of a task."""
    context = f"Riding: {sentence(rng).capitalize()}. {sentence(rng).capitalize()}. "
    context += "How to sit. Sit." if rng.random() < 0.5 else rng.choice(["the king", "a fool", "my lord"])
    endings = [
        f"{rng.choice(['takes', 'gives'])} the {rng.choice(THINGS)}{' of gold' * rng.randrange(3)}." for _ in range(4)
    ]
    return "\n".join([context, str(rng.randrange(4)), *endings]) + "\n"
