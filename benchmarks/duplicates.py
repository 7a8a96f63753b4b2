"""Speed, similarity curve and memory of the search for copies and for benchmark passages.

    python benchmarks/duplicates.py [--text FOLDER] [--benchmarks FOLDER] [--documents N]

One thread, in processor time, so that other jobs on the machine disturb less; MB are 10**6 bytes of
UTF-8; each figure is the median of seven runs, the contenders taking turns. Without `--text` the
text is generated, without `--benchmarks` the index is made of generated passages too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from gpt_research.evaluation.passages import passages_of
from gpt_research.preprocessing.text.arrow import encoded
from gpt_research.preprocessing.text.contamination import BenchmarkIndex, benchmark_folders
from gpt_research.preprocessing.text.duplicates import MinHash, exact_duplicates, near_duplicates, text_hashes
from gpt_research.preprocessing.text.words import hash_words

RUNS = 7
SIZES = (200, 1_000, 5_000, 100_000)
MINHASH = MinHash()


def main(argv: list[str] | None = None) -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", type=Path, help="folder of .txt files")
    parser.add_argument("--benchmarks", type=Path, help="folder with one folder per benchmark")
    parser.add_argument("--documents", type=int, default=1_000_000, help="documents in the reduce step")
    arguments = parser.parse_args(argv)
    text = read_text(arguments.text) if arguments.text else generated_text(2_000_000, seed=0)
    if arguments.benchmarks:
        folders = benchmark_folders(arguments.benchmarks)
        index = BenchmarkIndex.from_texts({path.name: passages_of(path, path.name) for path in folders})
    else:
        index = BenchmarkIndex.from_texts({"generated": [generated_text(1_000_000, seed=1)]})
    print_speed(text[:8_000_000], index)
    print_curve()
    print_reduce(arguments.documents)
    if arguments.text and arguments.benchmarks:
        print_overlaps(arguments.text, index)


def read_text(folder: Path) -> str:
    """Join files until there is enough to measure."""
    text = ""
    for path in sorted(folder.rglob("*.txt")):
        text += path.read_text(encoding="utf-8", errors="replace")
        if len(text) > 8_000_000:
            break
    return text


def generated_text(words: int, seed: int) -> str:
    """Words drawn as in natural text, where the most frequent are very frequent."""
    ranks = np.minimum(np.random.default_rng(seed).zipf(1.2, words), 50_000)
    return " ".join(f"word{rank}" for rank in ranks)


def print_speed(text: str, index: BenchmarkIndex) -> None:
    """MB/s by the length of documents, beside datatrove's own MinHash."""
    stages: dict[str, Callable[[list[str]], object]] = {
        "exact": lambda texts: text_hashes(encoded(texts)),
        "words": hash_words,
        "words + near": lambda texts: MINHASH.signatures(hash_words(texts)),
        "words + contamination": lambda texts: index.overlaps(hash_words(texts)),
        "words + near + contamination": lambda texts: near_and_contamination(texts, index),
        "datatrove near": datatrove_signatures(),
    }
    print(f"\nMB/s on one core ({len(index.grams)} 13-grams in the index)\n")
    print("| characters in a document | " + " | ".join(stages) + " |")
    print("|" + "---|" * (len(stages) + 1))
    for size in SIZES:
        texts = [text[start : start + size] for start in range(0, len(text), size)]
        rates: dict[str, list[float]] = {name: [] for name in stages}
        for _ in range(RUNS):
            for name, stage in stages.items():
                some = texts[: max(1, 200_000 // size)] if name.startswith("datatrove") else texts
                megabytes = sum(len(document.encode()) for document in some) / 1e6
                started_at = time.process_time()
                stage(some)
                rates[name].append(megabytes / (time.process_time() - started_at))
        print(f"| {size} | " + " | ".join(f"{statistics.median(rate):.1f}" for rate in rates.values()) + " |")


def near_and_contamination(texts: list[str], index: BenchmarkIndex) -> None:
    """What a task does with both stages on: the words are hashed once."""
    words = hash_words(texts)
    MINHASH.signatures(words)
    index.overlaps(words)


def datatrove_signatures() -> Callable[[list[str]], object]:
    """datatrove's signatures, with `str.split` for its word tokenizer (spaCy), which takes far
    longer.
    """
    from datatrove.pipeline.dedup import minhash

    class Splitter:
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    minhash.load_word_tokenizer = lambda language: Splitter()
    step = minhash.MinhashDedupSignature("unused", minhash.MinhashConfig())
    return lambda texts: [step.get_signature(step.get_shingles(text)) for text in texts]


def print_curve(pairs: int = 500) -> None:
    """How often a pair of 300 words is found, by the exact Jaccard similarity of its shingles."""
    print(f"\nPairs found of {pairs}, threshold {MINHASH.threshold}\n")
    print("| Jaccard similarity | they meet in a band (theory) | found |\n|---|---|---|")
    for percent in (10, 20, 30, 40, 45, 50, 55, 60, 70, 80, 90):
        # With s shingles in common of 296 each, the similarity is s / (592 - s).
        shared = round(592 * percent / (100 + percent)) + 4
        first, second = [], []
        for number in range(pairs):
            head = generated_text(shared, seed=number)
            first.append(head + "".join(f" a{number}x{i}" for i in range(300 - shared)))
            second.append(head + "".join(f" b{number}x{i}" for i in range(300 - shared)))
        originals, _ = near_duplicates([MINHASH.signatures(hash_words(first + second))], MINHASH)
        found = (originals[pairs:] == np.arange(pairs)).mean()
        print(f"| {percent / 100:.2f} | {MINHASH.meeting_probability(percent / 100):.3f} | {found:.3f} |")


def print_reduce(documents: int) -> None:
    """Time and memory of the reduce step, a tenth of the documents being copies with a few bytes
    changed.
    """
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (documents, MINHASH.num_hashes), dtype=np.uint8)
    hashes = rng.integers(0, 2**64, (documents, 2), dtype=np.uint64)
    copies = rng.choice(np.arange(1, documents), documents // 10, replace=False)
    rows[copies, 16:] = rows[copies - 1, 16:]
    hashes[copies] = hashes[copies - 1]
    print(f"\nReduce step, {documents} documents\n")
    print("| step | seconds | input, bytes a document | peak beside it, bytes a document |\n|---|---|---|---|")
    steps: dict[str, tuple[np.ndarray, Callable[[], object]]] = {
        "exact_duplicates": (hashes, lambda: exact_duplicates([hashes])),
        "near_duplicates": (rows, lambda: near_duplicates([rows], MINHASH)),
    }
    for name, (data, step) in steps.items():
        started_at = time.process_time()
        step()
        elapsed_s = time.process_time() - started_at
        tracemalloc.start()
        step()
        peak = tracemalloc.get_traced_memory()[1] / documents
        tracemalloc.stop()
        print(f"| {name} | {elapsed_s:.1f} | {data[0].nbytes} | {peak:.0f} |")


def print_overlaps(folder: Path, index: BenchmarkIndex) -> None:
    """Which files share how many 13-grams with which benchmark."""
    paths = sorted(folder.rglob("*.txt"))
    counts = [index.overlaps(hash_words([path.read_text(encoding="utf-8", errors="replace")]))[0] for path in paths]
    print(f"\nContamination of {len(paths)} files\n\n| file | {' | '.join(index.names)} |")
    print("|" + "---|" * (len(index.names) + 1))
    for path, count in zip(paths, counts, strict=True):
        if count.any():
            print(f"| {path.name} | {' | '.join(map(str, count))} |")


if __name__ == "__main__":
    main()
