"""How fast is preprocessing, the whole way from raw text to shards, and how much memory does it
take?

    python benchmarks/preprocess.py [clean] [stages] [memory] [--samples FOLDER] [--grown FOLDER]
    [--json FILE]

The peer is the usual way, as nanoGPT prepares OpenWebText: `datasets.map` with tiktoken in two
processes, then one memory map for each split. Both have GPT-2's vocabulary, two processes, the same
text on the same machine, and begin with a new Python and empty caches of their own; the files were
just read, so that no disk is measured. Rounds are interleaved and medians shown; MB are 10**6 bytes
of raw text. Processor time is that of all processes together: on a busy machine it says more than
the clock.

clean   web-sized pieces of clean books as JSON lines and as Parquet; exact duplicates only
stages  each corpus of the samples, repeated to a useful size with changed words, every stage on; the peer gets the raw
        text without any cleaning
memory  2 GB of text; the most that any worker held at once

To grow the texts takes longer than to measure: with `--grown FOLDER` they stay there and serve
again.

The peer needs `datasets` and tiktoken. Wikipedia's dump has peers of its own: `wikipedia.py` beside
this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grown_corpora import GROWERS, clean_documents, write_documents

SOURCE = Path(__file__).parents[1] / "src"
SAMPLES = Path(__file__).parents[2] / "shared" / "corpora"
BENCHMARKS = "benchmarks"
PROCESSES = 2
COMPARED = [name for name in GROWERS if name != "wikipedia"]


def main(argv: list[str] | None = None) -> None:
    """Measure, print tables as Markdown and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["clean", "stages", "memory"])
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="folder with one folder for each corpus")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the clean text")
    parser.add_argument("--corpus_megabytes", type=int, default=200, help="size that each corpus is grown to")
    parser.add_argument("--corpora", nargs="+", choices=COMPARED, default=list(COMPARED), help="those of stages")
    parser.add_argument("--memory_megabytes", type=int, default=2000, help="size of the text for the memory test")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grown", type=Path, help="folder where the grown texts stay for another run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.peer:
        run_peer(Path(arguments.peer[0]), Path(arguments.peer[1]))
        return
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="preprocess-") as folder:
        for part in arguments.parts:
            run = {"clean": measure_clean, "stages": measure_stages, "memory": measure_memory}[part]
            measured[part] = run(Path(folder), arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


# --- the peer


def encode_row(row: dict[str, str], state: dict[str, Any] = {}) -> dict[str, Any]:  # noqa: B006  kept between calls
    """Return the tokens of one document with the end-of-text token, one at a time as nanoGPT has
    it.
    """
    if not state:
        import tiktoken

        from gpt_research.data.vocabulary import SPLIT_PATTERN, read_gpt2

        vocabulary = read_gpt2()
        state["encoding"] = tiktoken.Encoding(
            "gpt2", pat_str=SPLIT_PATTERN, mergeable_ranks=vocabulary.ids, special_tokens=vocabulary.specials
        )
    ids = state["encoding"].encode_ordinary(row["text"])
    ids.append(state["encoding"].eot_token)
    return {"ids": ids, "count": len(ids)}


def run_peer(text: Path, out: Path) -> None:
    """Prepare JSON lines or Parquet with `datasets`, into `train.bin` and `val.bin`."""
    import datasets
    import numpy as np

    kind = "json" if text.suffix == ".jsonl" else "parquet"
    rows = datasets.load_dataset(kind, data_files=str(text), split="train", cache_dir=str(out / "cache"))
    halves = rows.train_test_split(test_size=0.005, seed=1337, shuffle=True)
    tokenized = halves.map(encode_row, remove_columns=rows.column_names, num_proc=PROCESSES)
    for split, found in tokenized.items():
        total = int(np.sum(found["count"], dtype=np.uint64))
        file = np.memmap(out / f"{split}.bin", dtype=np.uint16, mode="w+", shape=(total,))
        batches, written = min(1024, len(found)), 0
        for index in range(batches):
            batch = found.shard(num_shards=batches, index=index, contiguous=True).with_format("numpy")
            joined = np.concatenate(batch["ids"])
            file[written : written + len(joined)] = joined
            written += len(joined)
        file.flush()


def watch_peer(text: Path, folder: Path) -> Watched:
    """Run the peer, from a new Python to flushed files."""
    out = folder / "peer"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    environment = {**os.environ, "HF_HOME": str(out / "home"), "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, __file__, "--peer", str(text), str(out)]
    read_once(text)
    found = watched(command, environment)
    shutil.rmtree(out)
    return found


# --- ours


def watch_ours(spec: str, folder: Path, *options: str) -> Watched:
    """Run `gpt-research preprocess`."""
    out = folder / "ours"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "gpt_research", "preprocess", spec, "--out", str(out)]
    command += ["--workers", str(PROCESSES), *options]
    read_once(Path(spec.partition("=")[2]))
    found = watched(command, {**os.environ, "PYTHONPATH": str(SOURCE)})
    shutil.rmtree(out)
    return found


def read_once(place: Path) -> None:
    """Have the system hold a file, or the files of a folder, in memory."""
    for path in place.rglob("*") if place.is_dir() else [place]:
        if path.is_file():
            path.read_bytes()


@dataclass
class Watched:
    """What a command took, its child processes included."""

    seconds: float = 0.0
    processor_seconds: dict[int, float] = field(default_factory=dict)
    peak_bytes: dict[int, int] = field(default_factory=dict)
    """Largest resident set of each process, shared pages and mapped files included."""


def watched(command: list[str], environment: dict[str, str]) -> Watched:
    """Run a command and look at its processes ten times a second."""
    found, began = Watched(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for pid, seconds in family(process.pid).items():
                found.processor_seconds[pid] = seconds
                with contextlib.suppress(OSError, IndexError):  # gone meanwhile
                    peak = int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
                    found.peak_bytes[pid] = max(found.peak_bytes.get(pid, 0), peak)
            time.sleep(0.1)
        found.seconds = time.perf_counter() - began
        said.seek(0)
        if process.returncode not in (0, 3):  # 3: damaged input was set aside
            sys.exit(f"{' '.join(command)}\n{said.read()[-2000:]}")
    return found


def family(pid: int) -> dict[int, float]:
    """Return the processor seconds of a process and of all its descendants."""
    found: dict[int, float] = {}
    with contextlib.suppress(OSError, IndexError):  # gone meanwhile
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found |= family(int(child))
    return found


def interleaved(rounds: int, contenders: dict[str, Callable[[], Watched]]) -> dict[str, list[Watched]]:
    """Run all contenders once, then all again."""
    runs: dict[str, list[Watched]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            runs[name].append(run())
    return runs


def compared(size: float, runs: dict[str, list[Watched]]) -> dict[str, Any]:
    """Return the figures of one comparison; `size` in MB."""
    found: dict[str, Any] = {"MB": size}
    for what, of in (
        ("seconds", lambda run: run.seconds),
        ("processor", lambda run: sum(run.processor_seconds.values())),
    ):
        ours, peer = [of(run) for run in runs["ours"]], [of(run) for run in runs["peer"]]
        ratio = statistics.median(p / o for o, p in zip(ours, peer, strict=True))
        found[what] = {"ours": ours, "peer": peer, "ratio": ratio}
    return found


def print_head(what: str) -> None:
    print(f"| {what} | MB | ours, MB/s | datasets.map, MB/s | times as fast | processor time |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)


def print_row(name: str, found: dict[str, Any]) -> None:
    speeds = [found["MB"] / statistics.median(found["seconds"][who]) for who in ("ours", "peer")]
    ratios = [found[what]["ratio"] for what in ("seconds", "processor")]
    cells = [f"{found['MB']:.0f}", f"{speeds[0]:.1f}", f"{speeds[1]:.2f}", *(f"{ratio:.1f}" for ratio in ratios)]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def grown(folder: Path, size: int, grow: Callable[[], float]) -> float:
    """Grow texts into a folder, if they are not there from an earlier run; return their MB."""
    done = folder / f"grown_to_{size}"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        done.write_text(str(grow()))
    return float(done.read_text())


# --- clean text


def measure_clean(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare on clean text in both forms, exact duplicates only."""
    print_head("clean text")
    return {form: measure_form(form, folder, arguments) for form in ("jsonl", "parquet")}


def measure_form(form: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    place = (arguments.grown or folder) / form
    text, documents = place / f"text.{form}", clean_documents(arguments.samples)
    size = grown(place, arguments.megabytes, lambda: write_documents(text, documents, arguments.megabytes))
    contenders = {
        "ours": lambda: watch_ours(f"clean={text}", folder, "--near_duplicates", "false"),
        "peer": lambda: watch_peer(text, folder),
    }
    found = compared(size, interleaved(arguments.rounds, contenders))
    print_row(form, found)
    return found


# --- every stage on


def measure_stages(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare on each corpus as it comes, every stage on; the peer's input is the text it holds,
    extracted for it.
    """
    print_head("every stage")
    return {name: measure_corpus(name, folder, arguments) for name in arguments.corpora}


def measure_corpus(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    sample, grow = arguments.samples / GROWERS[name][0], GROWERS[name][1]
    if not sample.is_dir():
        print(f"| {name}: no sample | | | | |")
        return {}
    place = (arguments.grown or folder) / name
    corpus, text, megabytes = place / "corpus", place / "text.jsonl", arguments.corpus_megabytes

    def grow_both() -> float:
        corpus.mkdir()
        return write_documents(text, grow(sample, corpus, megabytes))

    size, benchmarks = grown(place, megabytes, grow_both), arguments.samples.parent / BENCHMARKS
    options = ["--benchmarks", str(benchmarks)] if benchmarks.is_dir() else []
    contenders = {
        "ours": lambda: watch_ours(f"{name}:{name.partition('_')[0]}={corpus}", folder, *options),
        "peer": lambda: watch_peer(text, folder),
    }
    found = compared(size, interleaved(arguments.rounds, contenders))
    print_row(name, found)
    return found


# --- memory


def measure_memory(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Preprocess much text in one file and watch every process."""
    text = folder / "memory" / "text.jsonl"
    size = write_documents(text, clean_documents(arguments.samples), arguments.memory_megabytes)
    out = folder / "ours"
    command = [sys.executable, "-m", "gpt_research", "preprocess", f"clean={text}", "--out", str(out)]
    found = watched([*command, "--workers", str(PROCESSES)], {**os.environ, "PYTHONPATH": str(SOURCE)})
    peaks = sorted(found.peak_bytes.items())  # the first process is the main one
    main_peak, worker_peak = peaks[0][1] / 1e6, max(peak for _, peak in peaks[1:]) / 1e6
    print("| memory, every stage on | MB of text | MB/s | worker, MB at most | main process, MB at most |")
    print("| --- | ---: | ---: | ---: | ---: |")
    print(f"| one file of JSON lines | {size:.0f} | {size / found.seconds:.1f} | {worker_peak:.0f} | {main_peak:.0f} |")
    shutil.rmtree(folder / "memory")
    shutil.rmtree(out)
    return {"MB": size, "seconds": found.seconds, "worker_peak_MB": worker_peak, "main_peak_MB": main_peak}


if __name__ == "__main__":
    main()
