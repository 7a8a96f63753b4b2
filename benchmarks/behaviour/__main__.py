"""Does the product still do what it did? Fingerprints of all that a checkout produces, and what two
of them differ in.

    python benchmarks/behaviour --checkout OLD --samples ../shared --start-runs DIR --out old.json
    python benchmarks/behaviour --checkout NEW --samples ../shared --start-runs DIR --out new.json
    python benchmarks/behaviour --compare old.json new.json [--except PREFIX ...]

The product is driven by its command line alone, so this does not care how it is built inside. Each
output has a SHA-256 and, where it is a short text, the text itself, so that `--compare` shows the
first lines that differ; it exits with 1 where anything differs or is there on one side only.
`--except` passes over names that begin with PREFIX, for changes that were meant.

`--start-runs` is a folder of runs that stopped early, with their data set. The first call, with the
old code, makes it; every call copies the runs from it and takes them to their end. So the weights
that the losses follow from are the same, though new code may draw other first weights. Only the
stage `fresh` begins a run from its seed.

preprocess  each sample corpus, forms of files, all at once with a tokenizer of their own; every file of each data set
train       runs of each precision with and without dropout, two processes, a run that breaks: losses, weights, moments
fresh       a run from its seed
generate    greedy and drawn text, in 8 and 16 bits, as JSON, from standard input, in a session, by llama.cpp
evaluate    corpora and benchmarks, lm-eval, and two runs compared
export      each format and type, and imports of what others write
look        where, inspect, replay, plan, print_config, verify-resume, the flags of each command, mistakes

`--only` takes some stages; they are then all that is compared. Left out is what no two runs share:
times, speeds, free disk space, process numbers (owner.json), versions of programs, the hash of a
run's settings, and what only describes the machine (doctor). Of .safetensors files the order of the
header's entries, which its writer does not fix, does not count. Numbers depend on the processor and
the version of torch: make both sides on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from compare import compare
from inputs import lay_out_inputs
from session import Session
from stages import STAGES
from start_runs import DATA, make_start_runs


def main(argv: list[str] | None = None) -> int:
    """Take fingerprints or compare two files of them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).parents[2]
    parser.add_argument(
        "--checkout", type=Path, default=beside, help="the code to run; default: the one that holds this file"
    )
    parser.add_argument("--samples", type=Path, default=beside.parent / "shared", help="corpora, benchmarks and models")
    parser.add_argument("--start-runs", type=Path, help="runs to go on from; made where the folder is not there")
    parser.add_argument("--out", type=Path, help="file to write")
    parser.add_argument("--work", type=Path, help="new folder where all outputs stay; default: a temporary one")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two files that --out wrote")
    parser.add_argument("--except", dest="passed_over", nargs="+", default=[], metavar="PREFIX")
    arguments = parser.parse_args(argv)
    if arguments.compare:
        return compare(*arguments.compare, arguments.passed_over)
    if not arguments.out:
        parser.error("name the file to write with --out, or two files with --compare")
    if arguments.work and arguments.work.exists():
        parser.error(f"--work {arguments.work} is there already: name a new folder")
    with tempfile.TemporaryDirectory(prefix="behaviour-") as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        return take(arguments, work)


def take(arguments: argparse.Namespace, work: Path) -> int:
    """Run the stages and write the file of fingerprints; return 1 where a command ended in a way it
    should not.
    """
    work.mkdir(parents=True, exist_ok=True)
    session = Session(arguments.checkout.resolve(), arguments.samples.resolve(), work)
    found = session.product("", program=["-c", "import gpt_research; print(gpt_research.__file__)"]).stdout.strip()
    if not Path(found).is_relative_to(session.checkout):
        sys.exit(f"The code that would run is {found}, not that of {session.checkout}.")
    start_runs = (arguments.start_runs or work / "start-runs").resolve()
    lay_out_inputs(session.samples, work / "inputs")
    if not (start_runs / "made.json").is_file():
        make_start_runs(session, start_runs)
    shutil.copytree(start_runs / DATA, work / DATA)
    session.start_runs = start_runs
    for stage in arguments.only:
        began = time.perf_counter()
        STAGES[stage](session)
        print(f"{stage:<11} {time.perf_counter() - began:6.1f} s", flush=True)
    written = {
        "made_on": machine(),
        "start_runs": hashlib.sha256((start_runs / "made.json").read_bytes()).hexdigest(),
        "stages": arguments.only,
        "fingerprints": dict(sorted(session.fingerprints.items())),
        "texts": dict(sorted(session.texts.items())),
    }
    arguments.out.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(session.fingerprints)} fingerprints in {arguments.out}, {len(session.surprises)} commands went wrong")
    return 1 if session.surprises else 0


def machine() -> dict[str, str]:
    """Return what the numbers depend on beside the code."""
    names = ("torch", "numpy", "pyarrow", "transformers", "gguf", "xllamacpp")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "processor": processor(), **versions}


def processor() -> str:
    """Return the name of the processor and the vector sets by which programs choose their
    kernels.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor()
    name = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    sets = sorted(f for f in (flags[1].split() if flags else []) if f.startswith(("avx", "amx")))
    return f"{name[1] if name else platform.processor()}: {' '.join(sets)}"


if __name__ == "__main__":
    sys.exit(main())
