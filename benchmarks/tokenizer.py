"""Which encoder is fast, exact and bounded? GPT-2's vocabulary, one thread, a new process each
time.

    python benchmarks/tokenizer.py --text FILE_OR_FOLDER

Rounds are interleaved (every encoder once, then all again) and medians are shown. `fresh` is a new
process's first pass over the text, `warm` the second pass, when caches know every word; both count
seconds of processor time, all threads together, so that a busy machine matters less. `exact`
compares all ids with tiktoken's: on the text, and around every Unicode code point, where the class
of the code point decides the split. Memory is what encoding adds to the resident set: its peak on
the text, and its peak on random words, few of which come twice, so that a cache without a limit
shows. Encoders that are not installed are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.vocabulary import SPLIT_PATTERN

BATCH = 16
"""Documents in one call."""

Encode = Callable[[list[str]], np.ndarray]
"""Takes a batch of texts, returns the ids of all of them, one after the other."""


def build_gpt_research(tokenizer: Tokenizer) -> Encode:
    return lambda texts: tokenizer.encode_batch(texts)[0]


def build_tiktoken(tokenizer: Tokenizer) -> Encode:
    import tiktoken

    ranks = tokenizer.vocabulary.ids
    encoding = tiktoken.Encoding("gpt2", pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: np.concatenate([encoding.encode_to_numpy(text, disallowed_special=()) for text in texts])


def build_tokenizers(tokenizer: Tokenizer) -> Encode:
    import tokenizers

    peer = tokenizers.Tokenizer.from_str(tokenizer.vocabulary.to_merges_json())
    return lambda texts: np.concatenate([np.array(peer.encode(text, add_special_tokens=False).ids) for text in texts])


def build_gigatoken(tokenizer: Tokenizer) -> Encode:
    import gigatoken

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(tokenizer.vocabulary.to_merges_json(), encoding="utf-8")
        peer = gigatoken.Tokenizer(path)
    return lambda texts: np.asarray(peer.encode_batch(texts, parallel=False).layout.content.data)


def build_tokie(tokenizer: Tokenizer) -> Encode:
    import tokie

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(tokenizer.vocabulary.to_merges_json(), encoding="utf-8")
        peer = tokie.Tokenizer.from_json(str(path))
    return lambda texts: np.concatenate([np.array(peer.encode(text, add_special_tokens=False).ids) for text in texts])


ENCODERS = {
    "tiktoken": build_tiktoken,
    "tokenizers": build_tokenizers,
    "tokie": build_tokie,
    "gigatoken": build_gigatoken,
    "gpt_research": build_gpt_research,  # fastokens behind our own interface
}


def read_texts(path: Path, megabytes: float) -> list[str]:
    """Return the documents of a file or folder, up to `megabytes` in all, evenly from all files."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not files:
        raise SystemExit(f"No files in {path}.")
    share = max(1, int(megabytes * 1e6 / len(files)))
    return [file.read_bytes()[:share].decode("utf-8", "replace") for file in files]


def code_points() -> list[str]:
    """Every code point where its class matters; 2,000 to a text, since documents are not so
    small.
    """
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    around = [f"{chr(point)}'t {chr(point)}!! " for point in points]
    return ["".join(around[i : i + 2000]) for i in range(0, len(around), 2000)]


def random_words(megabytes: float) -> Iterator[list[str]]:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz     ", np.uint8)
    for _ in range(int(megabytes)):
        yield [rng.choice(letters, 1_000_000).tobytes().decode()]


def resident_mb() -> float:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    except OSError:
        return float("nan")


def encode_all(encode: Encode, texts: list[str]) -> tuple[float, str, float]:
    """Return processor seconds spent encoding, a digest of all ids, and the peak of resident memory
    (MB).
    """
    digest, processor_s, peak = hashlib.sha256(), 0.0, 0.0
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        began = time.process_time()
        ids = encode(batch)
        processor_s += time.process_time() - began
        digest.update(ids.astype(np.uint32).tobytes())
        peak = max(peak, resident_mb())
    return processor_s, digest.hexdigest(), peak


def measure(name: str, texts: list[str], full: bool, unseen_mb: float) -> dict[str, float | str]:
    """Measure one encoder in this process; `full` adds what need not be repeated in every round."""
    tokenizer = Tokenizer.gpt2()
    before = resident_mb()
    encode = ENCODERS[name](tokenizer)
    encode(["Hello world"])  # what is built on first use
    fresh_s, ids, peak = encode_all(encode, texts)
    result: dict[str, float | str] = {"fresh_s": fresh_s, "ids": ids, "memory_mb": peak - before}
    result["warm_s"] = encode_all(encode, texts)[0]
    if full:
        result["code_points"] = encode_all(encode, code_points())[1]
        seen = [encode_all(encode, batch)[2] for batch in random_words(unseen_mb)]
        result["unseen_mb"] = max(seen, default=before) - before
    return result


def run_rounds(args: argparse.Namespace, names: list[str]) -> dict[str, list[dict[str, float | str]]]:
    results: dict[str, list[dict[str, float | str]]] = {name: [] for name in names}
    for number in range(args.rounds):
        for name in names:
            command = [sys.executable, __file__, "--text", str(args.text), "--megabytes", str(args.megabytes)]
            command += ["--unseen_mb", str(args.unseen_mb), "--child", name] + ["--full"] * (number == 0)
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    return results


def print_table(results: dict[str, list[dict[str, float | str]]], text_mb: float) -> None:
    """One row an encoder: MB/s with the ratio to tiktoken, exactness, memory."""
    speed = {
        (name, kind): text_mb / statistics.median(float(run[kind]) for run in runs)
        for name, runs in results.items()
        for kind in ("fresh_s", "warm_s")
    }
    reference = results["tiktoken"][0]
    print("| encoder | fresh MB/s | ratio | warm MB/s | ratio | exact | memory MB | with random words MB |")
    print("|---|--:|--:|--:|--:|---|--:|--:|")
    for name, runs in results.items():
        cells = []
        for kind in ("fresh_s", "warm_s"):
            cells += [f"{speed[name, kind]:.1f}", f"{speed[name, kind] / speed['tiktoken', kind]:.1f}"]
        wrong = [
            place for place, key in (("text", "ids"), ("code points", "code_points")) if runs[0][key] != reference[key]
        ]
        cells += [f"no ({', '.join(wrong)})" if wrong else "yes"]
        cells += [
            f"{max(float(run['memory_mb']) for run in runs):.0f}",
            f"{float(runs[0]['unseen_mb']):.0f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="a text file, or a folder of them")
    parser.add_argument("--megabytes", type=float, default=20, help="how much of it to encode (default 20)")
    parser.add_argument("--unseen_mb", type=float, default=50, help="random words for the memory test (50)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--skip", nargs="*", default=[], help="encoders to leave out, such as the slowest")
    parser.add_argument("--child", choices=ENCODERS, help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    texts = read_texts(args.text, args.megabytes)
    if args.child:
        print(json.dumps(measure(args.child, texts, args.full, args.unseen_mb)))
        return
    names = [name for name in ENCODERS if name not in args.skip and importlib.util.find_spec(name)]
    for name in ENCODERS.keys() - set(names) - set(args.skip):
        print(f"{name}: left out, not installed (pip install {name})", file=sys.stderr)
    text_mb = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{text_mb:.1f} MB in {len(texts)} documents, median of {args.rounds} rounds, one thread\n")
    print_table(run_rounds(args, names), text_mb)


if __name__ == "__main__":
    main()
