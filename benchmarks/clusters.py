"""How much longer do small corpora take on Slurm and on Ray than on one machine?

    python benchmarks/clusters.py [--text FOLDER] [--megabytes N ...] [--rounds N]

The same command runs with two local workers, on a Slurm of two virtual nodes of this machine (the
one of `tests/clusters`), and on a Ray that each run starts. So all have the same cores, and what is
above the local time is what the cluster itself costs. Times are from the start of the command to
the data set. Rounds are interleaved; the table shows medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "clusters"))
from slurm_of_two_nodes import SlurmOfTwoNodes  # the tests are not a package

FLAGS = {
    "one machine": [],
    "Slurm": ["--executor", "slurm", "--slurm_partition", "cpu", "--wait"],
    "Ray": ["--executor", "ray"],
}


def main() -> None:
    """Measure, and print a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=ROOT.parent / "shared" / "corpora" / "gutenberg")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[4, 30])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    slurm = SlurmOfTwoNodes()
    os.environ["SLURM_CONF"] = str(slurm.configuration)
    os.environ["PATH"] = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    try:
        slurm.start()
        with tempfile.TemporaryDirectory() as folder:
            print("| MB of text | " + " | ".join(f"{name}, s" for name in FLAGS) + " |")
            print("|--:|" + "--:|" * len(FLAGS))
            for megabytes in arguments.megabytes:
                text = take(arguments.text, megabytes * 10**6, Path(folder) / f"text-{megabytes}")
                times = defaultdict(list)
                for _ in range(arguments.rounds):
                    for name in FLAGS:
                        times[name].append(seconds(name, text, Path(folder) / "out"))
                medians = [f"{statistics.median(times[name]):.1f}" for name in FLAGS]
                print(f"| {megabytes} | " + " | ".join(medians) + " |", flush=True)
    finally:
        slurm.stop()


def take(source: Path, size: int, folder: Path) -> Path:
    """Copy files of about `size` bytes together, in the order of their names."""
    folder.mkdir()
    for file in sorted(source.iterdir()):
        if size <= 0:
            break
        shutil.copy(file, folder)
        size -= file.stat().st_size
    return folder


def seconds(name: str, text: Path, out: Path) -> float:
    """Return how long one run takes."""
    command = [sys.executable, "-m", "gpt_research", "preprocess", f"books={text}", "--out", str(out), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    begun = time.perf_counter()
    subprocess.run([*command, *FLAGS[name]], check=True, capture_output=True, env=environment, timeout=600)
    took = time.perf_counter() - begun
    shutil.rmtree(out)
    return took


if __name__ == "__main__":
    main()
