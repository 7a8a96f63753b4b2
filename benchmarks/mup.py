"""Does the best learning rate stay where it is when the model becomes wider?

    python benchmarks/mup.py data/demo/tokens --out runs/mup

For each parametrization and width it runs one sweep of learning rates on a grid of factor 2 (the same seeds at all
widths), and prints the validation loss of each rate. Under muP the best rate may move by one step of the grid; under
the standard parametrization it falls as the width grows. It goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

WIDTHS = (64, 128, 256, 512)
RATES = [2.0**power for power in range(-10, -3)]
STEPS, SEEDS = 128, 2
SAME = (
    f"tokens_per_step=1024,micro_batch=16,max_steps={STEPS},warmup_steps=13,schedule=linear,min_lr_ratio=0,"
    "weight_decay=0,eval_interval=0,eval_tokens=32768,"
    "model.n_layer=2,model.head_size=32,model.block_size=64,model.mup_base_width=64"
)


def sweep(data: str, out: Path, parametrization: str, width: int) -> dict[float, float]:
    """Run one sweep; return the mean validation loss of each rate, in nats a token."""
    shape = f"model.n_embd={width},model.n_head={width // 32},model.parametrization={parametrization}"
    command = [
        sys.executable, "-m", "gpt_research", "sweep", "demo-gpt2", "--set", f"data={data}", "--set", SAME, "--set",
        shape,
        "--over", "learning_rate=" + ",".join(map(str, RATES)), "--seeds", str(SEEDS),
        "--out", str(out / f"{parametrization}-{width}"),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = json.loads((out / f"{parametrization}-{width}" / "result.json").read_text(encoding="utf-8"))
    losses = {}
    for point in result["points"]:
        found = [run["loss"] for run in point["runs"]]
        losses[point["settings"]["learning_rate"]] = math.inf if None in found else statistics.fmean(found)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="data set folder, such as that of the demo")
    parser.add_argument("--out", type=Path, default=Path("runs/mup"))
    arguments = parser.parse_args()
    print("| | width | " + " | ".join(f"2^{math.log2(rate):.0f}" for rate in RATES) + " | best |")
    print("|---|--:|" + "--:|" * (len(RATES) + 1))
    for parametrization in ("standard", "mup"):
        for width in WIDTHS:
            losses = sweep(arguments.data, arguments.out, parametrization, width)
            best = min(losses, key=losses.__getitem__)
            cells = [f"{losses[rate]:.3f}" for rate in RATES]
            print(f"| {parametrization} | {width} | " + " | ".join(cells) + f" | 2^{math.log2(best):.0f} |", flush=True)


if __name__ == "__main__":
    main()
