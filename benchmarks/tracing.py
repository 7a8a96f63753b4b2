"""How long does it take to index a data set, and to find in it what a text has of it?

    python benchmarks/tracing.py --data DATA [--run RUN] [--out FOLDER]

The index is made in a new process, and so is the peer's: infini-gram (Liu et al. 2024), which sorts
the same tokens with its own program, if the package is installed. Then the same questions go to
both in turn and to a search through the bytes in memory: how often does a span of tokens stand in
the training split? Spans are pieces of it, of 2 to 40 tokens, a third of them with one token
changed. All counts must agree. With `--run`, whole texts are traced, with the documents and the
steps that read them. Times of the index are seconds of processor time and of the clock; those of
questions are medians of the clock.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpt_research.data.shards import Dataset
from gpt_research.tracing.index import Index, SplitIndex
from gpt_research.tracing.trace import Tracer

SPANS, TEXTS, TEXT_TOKENS = 1000, 40, 100
Count = Callable[[np.ndarray], int]


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds of processor time and of the clock."""
    before, started_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - started_at


def size(folder: Path, pattern: str = "*") -> int:
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


def infini_gram(tokens: np.ndarray, end: int, folder: Path) -> tuple[Count, tuple[float, float], int]:
    """Return infini-gram's count of a span, the time of its index and the size of its table.

    Its documents are begun by the token 65,535, which takes the place of the one that ends ours.
    """
    import infini_gram
    from infini_gram.engine import InfiniGramEngine

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ids = np.concatenate([[65535], tokens[:-1]]).astype("<u2")
    ids[1:][tokens[:-1] == end] = 65535
    ids.tofile(folder / "tokenized.0")
    (2 * np.flatnonzero(ids == 65535)).astype("<u8").tofile(folder / "offset.0")
    program = [sys.executable, "-m", "infini_gram.indexing", "--data_dir", str(folder), "--save_dir", str(folder)]
    Path(infini_gram.__file__).with_name("rust_indexing").chmod(0o755)
    used = timed([*program, "--token_dtype", "u16", "--cpus", "2", "--mem", "4", "--ulimit", "1024"])
    engine = InfiniGramEngine([str(folder)], eos_token_id=end, vocab_size=65535, token_dtype="u16")
    return lambda span: engine.count(span.tolist())["count"], used, (folder / "table.0").stat().st_size


def by_search(tokens: np.ndarray) -> Count:
    """Return the count by a search through the bytes of all tokens."""
    plain = tokens.astype("<u2").tobytes()

    def count(span: np.ndarray) -> int:
        part, found, at = span.astype("<u2").tobytes(), 0, -1
        while (at := plain.find(part, at + 1)) >= 0:
            found += at % 2 == 0
        return found

    return count


def by_index(split: SplitIndex) -> Count:
    return lambda span: split.whole(span).count


def spans_of(tokens: np.ndarray, end: int) -> list[np.ndarray]:
    draw, found = np.random.default_rng(0), []
    while len(found) < SPANS:
        begin = int(draw.integers(len(tokens) - 40))
        span = tokens[begin : begin + int(draw.integers(2, 41))].copy()
        if len(found) % 3 == 2:
            span[draw.integers(len(span))] = draw.integers(end)
        if end not in span:
            found.append(span)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", default="")
    parser.add_argument(
        "--out", default="runs/tracing-benchmark", help="folder for the indexes, which is removed first"
    )
    parser.add_argument("--searched", type=int, default=20, help="spans that are searched for in memory too")
    given = parser.parse_args()
    out, dataset = Path(given.out), Dataset(given.data, 1)
    shutil.rmtree(out, ignore_errors=True)

    ours = timed([sys.executable, "-m", "gpt_research", "index", given.data, "--out", str(out / "ours")])
    shards = size(Path(given.data), "*.bin")
    text = sum(shard.bytes for m in dataset.manifests.values() for shards_ in m.splits.values() for shard in shards_)
    print(f"{text / 1e6:.1f} MB of text, shards of {shards / 1e6:.1f} MB")
    print(f"index: {ours[0]:.1f} s of processor time, {ours[1]:.1f} s of the clock, ", end="")
    print(f"{size(out / 'ours') / 1e6:.1f} MB, {size(out / 'ours') / shards:.3f} times the shards")

    split = Index(dataset, out / "ours").train
    tokens = split.text.tokens(0, split.text.count)
    end = int(tokens[-1])
    counts: dict[str, Count] = {"ours": by_index(split), "search in memory": by_search(tokens)}
    if importlib.util.find_spec("infini_gram"):
        counts["infini-gram"], used, table = infini_gram(tokens, end, out / "peer")
        print(f"infini-gram's: {used[0]:.1f} s of processor time, {used[1]:.1f} s, table {table / 1e6:.1f} MB")
        print(f"  ours takes {ours[0] / used[0]:.2f} of its processor time")

    spans = spans_of(tokens, end)
    seconds: dict[str, list[float]] = {name: [] for name in counts}
    for number, span in enumerate(spans):
        answers = {}
        for name, count in counts.items():
            if name == "search in memory" and number >= given.searched:
                continue
            started_at = time.perf_counter()
            answers[name] = count(span)
            seconds[name].append(time.perf_counter() - started_at)
        assert len(set(answers.values())) == 1, f"the counts of {span} differ: {answers}"
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, median in medians.items():
        print(f"a count, {name}: {1e6 * median:,.1f} us, {median / medians['ours']:,.2f} times ours")

    queries = [tokens[begin : begin + TEXT_TOKENS] for begin in range(1000, len(tokens) - 1000, len(tokens) // TEXTS)]
    taken = []
    for query in queries:
        started_at = time.perf_counter()
        split.longest(query)
        taken.append(time.perf_counter() - started_at)
    print(f"longest matches from each of {TEXT_TOKENS} tokens: {1e3 * statistics.median(taken):.2f} ms")
    if given.run:
        started_at = time.perf_counter()
        tracer = Tracer.open(given.run, given.data, str(out / "ours"))
        print(f"opening a run with its index: {time.perf_counter() - started_at:.2f} s")
        draw = np.random.default_rng(1)
        for kind in ("copied", "made of pieces of 8 tokens"):
            taken = []
            for query in queries:
                if kind != "copied":
                    starts = draw.integers(len(tokens) - 8, size=TEXT_TOKENS // 8)
                    query = np.concatenate([tokens[start : start + 8] for start in starts])
                words = tracer.tokenizer.decode(query[query != end])
                started_at = time.perf_counter()
                tracer.trace(words)
                taken.append(time.perf_counter() - started_at)
            ordered = sorted(taken)
            print(
                f"tracing a text of {TEXT_TOKENS} tokens, {kind}: median {1e3 * statistics.median(taken):.1f} ms, ",
                end="",
            )
            print(f"slowest {1e3 * ordered[-1]:.1f} ms")


if __name__ == "__main__":
    main()
