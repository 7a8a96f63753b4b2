"""Does the product still do what it did? Fingerprints of all that a checkout produces, and what two
of them differ in.

    python benchmarks/behaviour.py --checkout DIR --samples ../shared --start-runs DIR --out
    old.json python benchmarks/behaviour.py --checkout DIR --samples ../shared --start-runs DIR
    --out new.json python benchmarks/behaviour.py --compare old.json new.json [--except PREFIX ...]

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
import csv
import difflib
import functools
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_TEXT = 20_000
"""Characters of an output that is kept whole beside its hash."""
TIMED = {"tokens_per_s", "mfu", "data_wait", "elapsed_s"}
"""Fields of metrics.jsonl and of a result that tell times."""
VERSIONS = {"versions", "code", "config"}
"""Fields that name the versions of programs, and the hash of all settings, which each new setting
changes."""
TEXT_KINDS = {".json", ".jsonl", ".md", ".txt", ".yaml"}
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
BENCHMARKS = "inputs/benchmarks"
PROMPT = "The president of the company said"
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


def main(argv: list[str] | None = None) -> int:
    """Take fingerprints or compare two files of them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).parents[1]
    parser.add_argument("--checkout", type=Path, default=beside, help="the code to run; default: that beside this file")
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


# --- running the product and keeping what it says


@dataclass
class Session:
    """One checkout at work in one folder, and what was seen so far. Commands run in that folder, by
    relative paths.
    """

    checkout: Path
    samples: Path
    work: Path
    start_runs: Path = Path()
    fingerprints: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """Start runs that were taken to their end."""

    def product(
        self,
        command: str,
        *more: str,
        program: Sequence[str] = ("-m", "gpt_research"),
        said: str = "",
        code: int = 0,
        processes: int = 1,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line and return what came of it; an exit code that is not `code` is a
        surprise.

        Args:
            command: arguments without spaces in them, apart by spaces.
            more: arguments that may hold spaces.
            said: what standard input holds.
        """
        line = [*program, *command.split(), *more]
        if processes > 1:
            line = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *line]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GPT_", "KMP_", "RICH"))},
            "PYTHONPATH": str(self.checkout / "src"),
            "OMP_NUM_THREADS": str(max(1, 2 // processes)),
            "MKL_NUM_THREADS": str(max(1, 2 // processes)),
            "MKL_DYNAMIC": "FALSE",
            "OMP_DYNAMIC": "FALSE",
            "OMP_WAIT_POLICY": "passive",
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "160",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            [sys.executable, *line],
            cwd=self.work,
            env=environment,
            input=said,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=600,
        )
        if done.returncode != code:
            shown = " ".join(line)
            self.surprises.append(shown)
            print(f"! exit code {done.returncode}, not {code}: {shown}\n{done.stderr[-1500:]}", file=sys.stderr)
        return done

    def command(self, name: str, command: str, *more: str, **how: Any) -> None:
        """Run a command line and keep under `name` its exit code, its output, and its errors and
        warnings.
        """
        done = self.product(command, *more, **how)
        wrong = [f"{line}\n" for line in done.stderr.splitlines() if line.startswith(("error:", "warning:"))]
        self.keep_text(name, f"exit code {done.returncode}\n{done.stdout}{''.join(wrong)}")

    def keep(self, name: str, content: bytes) -> None:
        """Keep the hash of an output under a name of its own."""
        assert name not in self.fingerprints, f"{name} is kept already"
        self.fingerprints[name] = hashlib.sha256(content).hexdigest()

    def keep_text(self, name: str, text: str) -> None:
        """Keep a text without what belongs to this folder, checkout or version; a short one also as
        it is.
        """
        text = text.replace(str(self.work), "WORK").replace(str(self.checkout), "CHECKOUT")
        text = re.sub(r"(gpt-research|torch) \d+\.\d+[\w.+-]*\w", r"\1 VERSION", text)
        text = re.sub(r"^( +config +)[0-9a-f]{64}$", r"\1HASH", text, flags=re.MULTILINE)
        self.keep(name, text.encode())
        if len(text) <= LONGEST_TEXT:
            self.texts[name] = text

    def keep_json(self, name: str, value: Any, leave_out: set[str] = VERSIONS) -> None:
        """Keep JSON without some fields, wherever they stand."""
        self.keep_text(name, json.dumps(without(value, leave_out), indent=1, ensure_ascii=False) + "\n")

    def keep_file(self, name: str, path: Path) -> None:
        """Keep a file: its bytes, its text where it is one, the tensors of a .safetensors file."""
        if not path.is_file():
            return  # --compare says that it is there on one side only
        if path.suffix == ".safetensors":
            for form, content in tensor_forms(path.read_bytes()).items():
                self.keep(f"{name}{form}", content)
        elif path.suffix in TEXT_KINDS:
            self.keep_text(name, path.read_text(encoding="utf-8"))
        else:
            self.keep(name, path.read_bytes())

    def keep_folder(self, name: str, folder: Path) -> None:
        """Keep every file of a folder."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.keep_file(f"{name}/{path.relative_to(folder).as_posix()}", path)


def without(value: Any, leave_out: set[str]) -> Any:
    """Return JSON without some fields, wherever they stand."""
    if isinstance(value, dict):
        return {name: without(inner, leave_out) for name, inner in value.items() if name not in leave_out}
    return [without(inner, leave_out) for inner in value] if isinstance(value, list) else value


def tensor_forms(content: bytes) -> dict[str, bytes]:
    """Return what to hash of a .safetensors file: all of it, its tensors by name, and its tensors
    whatever their names.

    The last tells a mere change of names from a change of numbers. The header's entries are sorted.
    """
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    hashes = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            digest = hashlib.sha256(data[begin:end]).hexdigest()
            hashes[name] = [entry["dtype"], entry["shape"], digest]
    return {
        "": json.dumps(header, sort_keys=True).encode() + data,
        " (tensors)": json.dumps(hashes, sort_keys=True).encode(),
        " (numbers)": json.dumps(sorted(hashes.values())).encode(),
    }


# --- what is read


def lay_out_inputs(samples: Path, inputs: Path) -> None:
    """Copy the samples to a folder of ours, of the books a few, and write files in the forms that
    there are none of.
    """
    corpora = samples / "corpora"
    for name in ("gutenberg_old", "enron", "wikipedia", "openwebtext", "cnn"):
        copy_folder(corpora / name, inputs / name)
    for name in ("wikitext2", "lambada", "hellaswag"):
        copy_folder(samples / "benchmarks" / name, inputs / "benchmarks" / name)
    books = sorted((corpora / "gutenberg").glob("*.txt"), key=lambda path: (path.stat().st_size, path.name))
    for path in books[:160:8]:
        copy_file(path, inputs / "gutenberg" / path.name)
    paragraphs = list(paragraphs_of(books[30:33]))
    write_transweb(inputs / "transweb", paragraphs[:60])
    passage = json.loads((inputs / "benchmarks/lambada/lambada_test.jsonl").read_text(encoding="utf-8").split("\n")[0])
    write_own(inputs / "own", paragraphs[60:160], passage["text"])
    write_mails(inputs / "forms", inputs / "enron" / "maildir")
    write_web(inputs / "forms", inputs / "openwebtext" / "openwebtext")
    write_models(inputs / "models", samples / "models" / "tiny_random_gpt2")


def copy_file(source: Path, place: Path) -> None:
    """Copy a file's bytes alone, so that a read-only sample becomes a file we may remove."""
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)


def copy_folder(source: Path, place: Path) -> None:
    """Copy a folder as `copy_file` does."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy_file(path, place / path.relative_to(source))


def paragraphs_of(books: Sequence[Path]) -> Iterator[str]:
    """Return the longer paragraphs of some books."""
    for book in books:
        for paragraph in book.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            if len(paragraph) > 300:
                yield paragraph.strip()


def write_transweb(folder: Path, texts: Sequence[str]) -> None:
    """Write chunks of JSON lines, one of them in a language that is passed over."""
    folder.mkdir(parents=True)
    for name, part in (("en_chunk0", texts[:40]), ("en_chunk1", texts[30:]), ("fr_chunk0", texts[:5])):
        lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(part)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_own(folder: Path, texts: Sequence[str], passage: str) -> None:
    """Write a folder of text, JSON lines, CSV and Parquet, packed and not, with damage, copies and
    benchmark text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text(f"{texts[0]}\n\n{passage}\n\n{texts[1]}\n", encoding="utf-8")
    (folder / "pages.md").write_text("\n<|endoftext|>\n".join(texts[2:20]), encoding="utf-8")
    (folder / "odd.txt").write_bytes("CafÃ© au lait,\r\n\r\n\r\n\r\nand\x00 then “more”.   \r\n".encode() * 4)
    rows = [json.dumps({"title": "A", "body": text}) for text in texts[20:40]]
    rows[3:3] = ['{"body": "torn', '{"other": 1}', json.dumps({"body": "short"}), rows[0], rows[1][:-3] + ' end."}']
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    table = io.StringIO()
    csv.writer(table).writerows([["id", "text"], *([str(i), text] for i, text in enumerate(texts[40:60]))])
    (folder / "table.csv").write_text(table.getvalue(), encoding="utf-8")
    packed = "".join(json.dumps({"text": text}) + "\n" for text in texts[60:80]).encode()
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(packed, mtime=0))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(packed, mtime=0)[:-200])
    pq.write_table(pa.table({"url": ["x"] * 20, "text": list(texts[80:100])}), folder / "table.parquet")


def write_mails(folder: Path, maildir: Path) -> None:
    """Write some mails as Kaggle's table, and as the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(path for path in maildir.rglob("*") if path.is_file())
    mails, others = found[::7], found[3::14]
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerow(["file", "message"])
    for path in mails:
        writer.writerow([path.relative_to(maildir).as_posix(), path.read_text(encoding="latin-1")])
    (folder / "emails.csv").write_text(table.getvalue(), encoding="utf-8")
    archive = pack({f"maildir/{path.relative_to(maildir).as_posix()}": path.read_bytes() for path in others})
    (folder / "enron_mail.tar.gz").write_bytes(gzip.compress(archive, mtime=0))


def write_web(folder: Path, archives: Path) -> None:
    """Write an archive of OpenWebText's archives."""
    inner = {f"openwebtext/{path.name}": path.read_bytes() for path in sorted(archives.iterdir())}
    (folder / "openwebtext.tar").write_bytes(pack(inner))


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive that holds no time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def write_models(folder: Path, fixture: Path) -> None:
    """Write the tiny random GPT-2 as Hugging Face and as nanoGPT have it; what its file lacks is
    ones and zeros.
    """
    import numpy as np
    import torch
    from safetensors.numpy import save_file

    layers, heads, width = 5, 4, 32
    arrays = dict(np.load(fixture / "tiny_random_gpt2_fixture.npz"))
    tensors = {name: array for name, array in arrays.items() if name.startswith("transformer.")}
    sizes = {"attn.c_attn": 3 * width, "attn.c_proj": width, "mlp.c_fc": 4 * width, "mlp.c_proj": width}
    modules = {f"transformer.h.{i}.{name}": size for i in range(layers) for name, size in sizes.items()}
    norms = [f"transformer.h.{i}.ln_{j}" for i in range(layers) for j in (1, 2)] + ["transformer.ln_f"]
    tensors |= {f"{name}.bias": np.zeros(size, np.float32) for name, size in modules.items()}
    tensors |= {f"{name}.weight": np.ones(width, np.float32) for name in norms}
    tensors |= {f"{name}.bias": np.zeros(width, np.float32) for name in norms}
    settings = {"n_layer": layers, "n_head": heads, "n_embd": width, "vocab_size": 1000}
    (folder / "hf").mkdir(parents=True)
    save_file(tensors, folder / "hf" / "model.safetensors", metadata={"format": "pt"})
    content = {"model_type": "gpt2", "activation_function": "gelu_new", "n_positions": 512, **settings}
    (folder / "hf" / "config.json").write_text(json.dumps(content), encoding="utf-8")
    linear = {name: array.T if name.removesuffix(".weight") in modules else array for name, array in tensors.items()}
    weights = {f"_orig_mod.{name}": torch.from_numpy(array.copy()) for name, array in linear.items()}
    torch.save({"model": weights, "model_args": {**settings, "block_size": 512, "bias": True}}, folder / "ckpt.pt")


# --- runs to go on from


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
        keep = keep_json_file if path.suffix == ".json" else Session.keep_file
        keep(session, f"{name}/{path.parent.name}/{path.name}", path)
    for path in sorted((run / "black_box").glob("*.json")):
        keep_json_file(session, f"{name}/black_box/{path.name}", path)


def keep_json_file(session: Session, name: str, path: Path, leave_out: set[str] = VERSIONS) -> None:
    """Keep a JSON file without some fields."""
    if path.is_file():
        session.keep_json(name, json.loads(path.read_text(encoding="utf-8")), leave_out)


# --- the stages


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
        keep_json_file(session, f"evaluate/{name}/evaluation.json", result, VERSIONS | TIMED)
        session.keep_file(f"evaluate/{name}/items.jsonl", result.with_suffix(".items.jsonl"))

    all_of_them = f"--benchmarks {BENCHMARKS} --limit 8 --max_tokens 8192"
    score("writer", writer, all_of_them)
    score("other", other, all_of_them)
    score("narrow", writer, f"--benchmarks {BENCHMARKS} --limit 8 --tasks wikitext2,lambada --context 48 --stride 24")
    score("trained-on", writer, "--split train --max_tokens 8192 --precision bf16 --batch_size 3")
    score("harness", writer, f"--benchmarks {BENCHMARKS} --limit 4 --tasks lambada,hellaswag --harness")
    pair = "compare scores/writer.json scores/other.json --json scores/compared.json"
    session.command("evaluate/compare/output", pair)
    keep_json_file(session, "evaluate/compare/compared.json", session.work / "scores" / "compared.json")
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


# --- two sides


def compare(first: Path, second: Path, passed_over: Sequence[str]) -> int:
    """Print what two files of fingerprints differ in; return 1 where they differ in anything."""
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (first, second))
    for name in ("made_on", "start_runs"):
        if one[name] != other[name]:
            print(f"Careful: {name} is not the same: {one[name]} and {other[name]}")
    stages = [stage for stage in one["stages"] if stage in other["stages"]]
    left_out = sorted(set(one["stages"]) ^ set(other["stages"]))
    if left_out:
        print(f"Compared are only the stages that both have; one has not: {', '.join(left_out)}")
    counts = functools.partial(_counted, stages=stages, passed_over=passed_over)
    ours, theirs = counts(one["fingerprints"]), counts(other["fingerprints"])
    differing = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    for name in differing:
        print(f"differs: {name}")
        if name in one["texts"] and name in other["texts"]:
            _show_difference(one["texts"][name], other["texts"][name])
    for path, names in ((first, ours.keys() - theirs.keys()), (second, theirs.keys() - ours.keys())):
        for name in sorted(names):
            print(f"only in {path}: {name}")
    lonely = len(ours.keys() ^ theirs.keys())
    same = len(ours.keys() & theirs.keys()) - len(differing)
    print(f"{same} equal, {len(differing)} differ, {lonely} on one side only")
    return 1 if differing or lonely else 0


def _counted(found: Mapping[str, str], stages: Sequence[str], passed_over: Sequence[str]) -> dict[str, str]:
    """Return the fingerprints that count."""
    return {
        name: value
        for name, value in found.items()
        if name.partition("/")[0] in stages and not name.startswith(tuple(passed_over))
    }


def _show_difference(before: str, after: str, most_lines: int = 12) -> None:
    """Print the first lines that two texts differ in."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    for line in changed[:most_lines]:
        print(f"    {line[:200]}")
    if len(changed) > most_lines:
        print(f"    and {len(changed) - most_lines} lines more")


if __name__ == "__main__":
    sys.exit(main())
