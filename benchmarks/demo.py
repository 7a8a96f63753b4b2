"""The demo's recipe beside GPT-2's at the same size: bits per byte and time, the two in turn.

    python benchmarks/demo.py data/demo/tokens --rounds 3

Each round trains both with one seed, on all cores, and evaluates both on the whole validation split. The folder is that
which `gpt-research demo` makes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RECIPES = ("demo-gpt2", "demo")


def once(recipe: str, data: str, seed: int, out: Path) -> tuple[float, float]:
    """Train and evaluate once; return bits per byte and the seconds of the training command."""
    run = out / f"{recipe}-{seed}"
    program = [sys.executable, "-m", "gpt_research"]
    began = time.perf_counter()
    train = ["train", "--config", recipe, "--data", data, "--seed", str(seed), "--resume", "never", "--out", str(run)]
    subprocess.run([*program, *train], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    result = run / "evaluation.json"
    subprocess.run([*program, "evaluate", str(run), "--json", str(result)], check=True, capture_output=True)
    return json.loads(result.read_text(encoding="utf-8"))["overall"]["bits_per_byte"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="data set folder of the demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/demo-benchmark"))
    arguments = parser.parse_args()
    times: list[float] = []
    for number in range(arguments.rounds):
        order = RECIPES if number % 2 == 0 else RECIPES[::-1]
        found = {recipe: once(recipe, arguments.data, 1337 + number, arguments.out) for recipe in order}
        times.append(found["demo"][1] / found["demo-gpt2"][1])
        for recipe, (bits, seconds) in found.items():
            print(f"seed {1337 + number}  {recipe:10} {bits:.4f} bits per byte, {seconds:.0f} s", flush=True)
    print(f"time of demo over that of demo-gpt2: {statistics.median(times):.2f} (median of {len(times)})")


if __name__ == "__main__":
    main()
