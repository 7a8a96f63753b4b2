"""How fast are the filters of web text, beside datatrove's own, and how often do both agree?

    python benchmarks/filters.py [--text NAME=PATH] [--rounds N] [--megabytes N] [--whole MEGABYTES] [--json FILE]

One thread, in processor time, so that other jobs on the machine disturb less; MB are 10**6 bytes of
UTF-8. The contenders take turns within each round, and each figure is the median of the rounds.
Both get the same documents, which are in memory. datatrove gets fewer of them, because it takes
long, and only if spaCy is installed, which splits its words. `--whole` also runs the command
`preprocess` with and without filters on so many MB of JSON lines, on two workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from preprocess import watched

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document, ReadOptions
from gpt_research.preprocessing.filters.catalogue import chosen_for
from gpt_research.preprocessing.filters.chain import filtered
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.text.batches import Batch, batched

RULES = ["gopher_repetition", "gopher_quality", "c4", "fineweb"]
THEIR_BYTES = 1_000_000
"""Bytes of text that datatrove gets in each round."""


def main(argv: list[str] | None = None) -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", default="openwebtext=../shared/corpora/openwebtext", help="a corpus, NAME=PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=20, help="text for ours in each round, repeated if need be")
    parser.add_argument("--whole", type=int, default=0, help="MB of JSON lines for the command preprocess")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    documents = read(arguments.text)
    figures = {"filters": speeds(documents, arguments.rounds, arguments.megabytes)}
    if arguments.whole:
        figures["whole"] = whole(documents, arguments.whole, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def read(spec: str) -> list[str]:
    corpus = resolve(spec)
    items = (item for unit in corpus.units() for item in corpus.read(unit, ReadOptions()))
    return [item.text for item in items if isinstance(item, Document)]


def speeds(documents: list[str], rounds: int, megabytes: int) -> dict[str, Any]:
    size = sum(len(text.encode()) for text in documents)
    many = documents * max(1, megabytes * 1_000_000 // size)
    batches = list(batched(Document(text, "", at) for at, text in enumerate(many)))
    few, held = [], 0
    for text in documents:
        if held < THEIR_BYTES:
            few.append(text)
            held += len(text.encode())
    choices = {name: name for name in RULES} | {"all four": ",".join(RULES), "language": "language(keep=en)"}
    ours: dict[str, Callable[[list[Any]], list[bool]]] = {}
    for label, choice in choices.items():
        try:
            chain = chosen_for({"filters": choice}, "")
        except UserError as error:
            print(f"Left out {label}: {error}", file=sys.stderr)
            continue
        ours[label] = lambda parts, chain=chain: our_decisions(parts, chain)
    theirs = datatrove_filters()
    own_few = list(batched(Document(text, "", at) for at, text in enumerate(few)))
    many_mb, few_mb = size * (len(many) // len(documents)) / 1e6, held / 1e6
    rates: dict[str, dict[str, list[float]]] = {label: {"ours": [], "datatrove": []} for label in ours}
    agreed = {}
    for _ in range(rounds):
        for label, judge in ours.items():
            decisions = judge(own_few)  # also warms up
            started_at = time.process_time()
            judge(batches)
            rates[label]["ours"].append(many_mb / (time.process_time() - started_at))
            if label in theirs:
                started_at = time.process_time()
                their_decisions = theirs[label](few)
                rates[label]["datatrove"].append(few_mb / (time.process_time() - started_at))
                agreed[label] = sum(map(bool.__eq__, decisions, their_decisions)) / len(few)
    print(f"\nMB/s of processor time on one core; {len(documents):,} documents, {size / 1e6:.1f} MB\n")
    print("| filter | ours | datatrove | times as fast | equal decisions |\n|---|--:|--:|--:|--:|")
    table = {}
    for label, both in rates.items():
        mine = statistics.median(both["ours"])
        other = statistics.median(both["datatrove"]) if both["datatrove"] else 0.0
        beside = f"{other:.2f} | {mine / other:.0f} | {agreed[label]:.2%}" if other else "- | - | -"
        print(f"| {label} | {mine:.1f} | {beside} |")
        table[label] = {"ours": mine, "datatrove": other, "agreed": agreed.get(label)}
    return table


def our_decisions(batches: list[Any], chain: list[Any]) -> list[bool]:
    """Return which documents are kept, by their positions."""
    kept: set[int] = set()
    total = 0
    for batch in batches:
        total += len(batch)
        for item in filtered([batch], chain):
            if isinstance(item, Batch):
                kept.update(item.rows["position"].to_pylist())
    return [at in kept for at in range(total)]


def datatrove_filters() -> dict[str, Callable[[list[str]], list[bool]]]:
    """Return datatrove's filters, with the words of spaCy, as they come."""
    try:
        import spacy  # noqa: F401
    except ImportError:
        print("Left out datatrove: it splits words with spaCy, which is not installed.", file=sys.stderr)
        return {}
    from datatrove.data import Document as TheirDocument
    from datatrove.pipeline import filters

    made = {
        "gopher_repetition": filters.GopherRepetitionFilter(),
        "gopher_quality": filters.GopherQualityFilter(),
        "c4": filters.C4QualityFilter(),
        "fineweb": filters.FineWebQualityFilter(),
    }

    def run(steps: list[Any], texts: list[str]) -> list[bool]:
        return [
            all(step.filter(document) is True for step in steps)
            for document in (TheirDocument(text=text, id="") for text in texts)
        ]

    return {
        **{name: lambda texts, step=step: run([step], texts) for name, step in made.items()},
        "all four": lambda texts: run(list(made.values()), texts),
    }


def whole(documents: list[str], megabytes: int, rounds: int) -> dict[str, float]:
    """Time the command with and without filters, in turn, by its processor time and by the clock."""
    figures: dict[str, list[tuple[float, float]]] = {"": [], ",".join(RULES): [], "language(keep=en)": []}
    with tempfile.TemporaryDirectory() as folder:
        source, held = Path(folder) / "web.jsonl", 0
        with open(source, "w", encoding="utf-8") as file:
            number = 0
            while held < megabytes * 1_000_000:
                # A line of its own makes each document another one.
                text = f"{documents[number % len(documents)]}\nThis is document number {number}."
                file.write(json.dumps({"text": text}) + "\n")
                held, number = held + len(text.encode()), number + 1
        for round_ in range(rounds):
            for filters, taken in figures.items():
                command = [sys.executable, "-m", "gpt_research", "preprocess", f"web={source}", "--workers", "2"]
                command += ["--near_duplicates", "false", "--out", f"{folder}/out{round_}{len(filters)}"]
                command += ["--filters", filters] if filters else []
                run = watched(command, {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")})
                taken.append((sum(run.processor_seconds.values()), run.seconds))
    print(f"\nThe command preprocess on {held / 1e6:.0f} MB, two workers\n")
    print("| filters | processor seconds | seconds by the clock |\n|---|--:|--:|")
    medians = {}
    for filters, taken in figures.items():
        processor, clock = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"| {filters or 'none'} | {processor:.1f} | {clock:.1f} |")
        medians[filters or "none"] = processor
    return medians


if __name__ == "__main__":
    main()
