"""How fast does Wikipedia's dump become a data set, next to wikiextractor and to libbz2 alone?

    python benchmarks/wikipedia.py --wikiextractor PYTHON [--grown FOLDER] [--rounds N]
    [--json FILE]

PYTHON is one that has wikiextractor (`python -m venv V; V/bin/pip install wikiextractor`). All three
get the same dump, grown from the sample with changed words, and two processes:

- ours: every stage, from the packed dump to shards, overlap with benchmarks and data card included
- wikiextractor: `--processes 2 --no-templates --json`, from the packed dump to JSON lines
- libbz2: it only unpacks, each process half of the blocks, which is the bound of who decodes with it

Rounds are interleaved and medians shown. MB are 10**6 bytes of the unpacked dump. Processor time is
that of all processes together: on a busy machine it says more than the clock.
"""

from __future__ import annotations

import argparse
import bz2
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from grown_corpora import grow_wiki
from preprocess import BENCHMARKS, PROCESSES, SAMPLES, SOURCE, Watched, grown, interleaved, read_once, watched

sys.path.insert(0, str(SOURCE))

from gpt_research.preprocessing.formats.bz2_blocks import block_offsets, read_block


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table as Markdown and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wikiextractor", type=Path, help="a Python that has it; without it, only the others run")
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="folder with one folder for each corpus")
    parser.add_argument("--megabytes", type=int, default=280, help="size of the wikitext that the dump is grown to")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grown", type=Path, help="folder where the grown dump stays for another run")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="wikipedia-") as folder:
        measured = measure(Path(folder), arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Let the contenders take turns, and print a row for each."""
    place = (arguments.grown or folder) / "wikipedia_dump"
    dump = place / "corpus" / "enwiki-pages-articles.xml.bz2"
    megabytes = grown(place, arguments.megabytes, lambda: grow(arguments, dump))
    texts: dict[str, float] = {}
    contenders = {
        "ours, every stage": lambda: run_ours(dump, folder, arguments.samples, texts),
        "libbz2, only unpacking": lambda: run_libbz2(dump),
    }
    if arguments.wikiextractor:
        contenders["wikiextractor"] = lambda: run_wikiextractor(arguments.wikiextractor, dump, folder, texts)
    runs = interleaved(arguments.rounds, contenders)
    print(f"| {megabytes:.0f} MB of XML, {dump.stat().st_size / 1e6:.0f} MB packed | s | MB/s | CPU s | MB of text |")
    print("| --- | ---: | ---: | ---: | ---: |")
    found: dict[str, Any] = {"MB": megabytes}
    for name, rounds in runs.items():
        seconds = statistics.median(run.seconds for run in rounds)
        processor = statistics.median(sum(run.processor_seconds.values()) for run in rounds)
        text = f"{texts[name]:.1f}" if name in texts else ""
        print(f"| {name} | {seconds:.1f} | {megabytes / seconds:.1f} | {processor:.1f} | {text} |")
        found[name] = {"seconds": [run.seconds for run in rounds], "processor": processor, "text_MB": texts.get(name)}
    return found


def grow(arguments: argparse.Namespace, dump: Path) -> float:
    """Grow the sample; return the MB of the dump when it is unpacked."""
    dump.parent.mkdir()
    for _ in grow_wiki(arguments.samples / "wikipedia", dump.parent, arguments.megabytes):
        pass
    return len(bz2.decompress(dump.read_bytes())) / 1e6


def run_ours(dump: Path, folder: Path, samples: Path, texts: dict[str, float]) -> Watched:
    """Run `gpt-research preprocess`; the text is that of the articles that stay."""
    out = folder / "ours"
    command = [sys.executable, "-m", "gpt_research", "preprocess", f"wikipedia={dump}", "--out", str(out)]
    command += ["--workers", str(PROCESSES)]
    if (benchmarks := samples.parent / BENCHMARKS).is_dir():
        command += ["--benchmarks", str(benchmarks)]
    read_once(dump)
    found = watched(command, {**os.environ, "PYTHONPATH": str(SOURCE)})
    splits = json.loads((out / "wikipedia" / "manifest.json").read_text(encoding="utf-8"))["splits"]
    texts["ours, every stage"] = sum(shard["bytes"] for shards in splits.values() for shard in shards) / 1e6
    shutil.rmtree(out)
    return found


def run_wikiextractor(python: Path, dump: Path, folder: Path, texts: dict[str, float]) -> Watched:
    """Run wikiextractor; the text is that of the articles that it does not leave empty."""
    out = folder / "wikiextractor"
    command = [str(python), "-m", "wikiextractor.WikiExtractor", "--processes", str(PROCESSES), "--no-templates"]
    read_once(dump)
    found = watched([*command, "--json", "--quiet", "--output", str(out), str(dump)], dict(os.environ))
    files = (path for path in out.rglob("*") if path.is_file())
    lines = (line for path in files for line in path.read_text(encoding="utf-8").splitlines())
    texts["wikiextractor"] = sum(len(json.loads(line)["text"].encode()) for line in lines) / 1e6
    shutil.rmtree(out)
    return found


def run_libbz2(dump: Path) -> Watched:
    """Unpack the dump with libbz2 on two processes, which hold nothing but the decoder."""
    read_once(dump)
    found, began = Watched(), time.perf_counter()
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        shares = [(dump, share) for share in range(PROCESSES)]
        found.processor_seconds = dict(enumerate(pool.starmap(unpack, shares)))
    found.seconds = time.perf_counter() - began
    return found


def unpack(dump: Path, share: int) -> float:
    """Unpack the blocks that begin in one share of a dump; return the processor time it took."""
    began, size = time.process_time(), dump.stat().st_size
    begin, end = size * share // PROCESSES, size * (share + 1) // PROCESSES
    with open(dump, "rb") as file:
        for first, stop in pairwise(block_offsets(file, begin)):
            if first >= 8 * end:
                break
            read_block(file, first, stop)
    return time.process_time() - began


if __name__ == "__main__":
    main()
