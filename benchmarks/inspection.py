"""Milliseconds that the server takes for what the page shows of a model and of its data.

    python benchmarks/inspection.py runs/demo --rounds 30 --json out.json

Each question goes through the whole server in process, as a browser would ask it, about a text that
fills the context. Medians over the rounds. The search runs over the run's training split, repeated
until it is 100 MB of text, for a text that is not in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from gpt_research.checkpoint.files import saved_steps
from gpt_research.cli.serve import ServeCommand, build
from gpt_research.data.documents import Documents
from gpt_research.data.search import Pattern, search
from gpt_research.data.shards import Manifest, index_path, read_manifests, write_manifest
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.settings_history import run_config

SEARCHED_BYTES = 100_000_000


def milliseconds(ask: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


def of_a_model(run: Path, rounds: int) -> dict[str, float]:
    """Return the median time of each question about a text as long as the context."""
    config = run_config(run)
    documents, tokenizer = opened(Path(config.data))
    corpus = next(iter(documents.corpora))
    tokens = documents.tokens(documents.get(corpus, "val", [0])[0], 200, config.model.block_size - 1).tolist()
    steps = saved_steps(run)
    with TestClient(build(ServeCommand(runs=[f"run={run}"], device="cpu"), ""), base_url="http://127.0.0.1") as client:

        def ask(where: str, **question: object) -> Callable[[], object]:
            body = {"tokens": tokens, **question}

            def asked() -> None:
                answer = client.post(f"/api/{where}", json=body)
                assert answer.status_code == 200, answer.text

            return asked

        def first_of_each(where: str) -> float:
            return statistics.median(milliseconds(ask(where, model=f"run@{step}"), 1) for step in steps[:4])

        times = {"analysis, the first of a checkpoint": first_of_each("analysis")}
        times["analysis"] = milliseconds(ask("analysis", model="run"), rounds)
        times["analysis of another checkpoint, again"] = milliseconds(ask("analysis", model=f"run@{steps[0]}"), rounds)
        times["attention, all heads"] = milliseconds(ask("attention", model="run"), rounds)
        times["attention, one head"] = milliseconds(ask("attention/head", model="run", layer=1, head=0), rounds)
        times["logit lens"] = milliseconds(ask("lens", model="run"), rounds)
        times["a head switched off"] = milliseconds(ask("switch_off", model="run", off={"heads": [[0, 0]]}), rounds)
        times["each part switched off"] = milliseconds(ask("switch_off/each", model="run"), max(3, rounds // 5))
        times[f"losses at {len(steps)} checkpoints, the first time"] = milliseconds(ask("through/losses", run="run"), 1)
        times[f"losses at {len(steps)} checkpoints, another text"] = statistics.median(
            milliseconds(ask("through/losses", run="run", tokens=tokens[n:]), 1) for n in range(1, 6)
        )
        times[f"losses at {len(steps)} checkpoints, again"] = milliseconds(ask("through/losses", run="run"), rounds)
    return times


def opened(folder: Path) -> tuple[Documents, Tokenizer]:
    return Documents(read_manifests(folder)), Tokenizer.load(folder / "tokenizer.json")


def of_a_search(run: Path, rounds: int, scratch: Path) -> dict[str, float]:
    """Return the median time to look through 100 MB of text."""
    folder = Path(run_config(run).data)
    documents, tokenizer = opened(folder)
    corpus, (where, manifest) = next(iter(documents.corpora.items()))
    [shard] = manifest.splits["train"]
    copies = -(-SEARCHED_BYTES // shard.bytes)
    tokens = np.fromfile(where / shard.path, manifest.token_type)
    np.tile(tokens, copies).tofile(scratch / shard.path)
    index = pq.read_table(index_path(where, shard))
    starts = np.concatenate([index["start"].to_numpy() + n * shard.tokens for n in range(copies)])
    column = index.schema.get_field_index("start")
    repeated = pa.concat_tables([index] * copies).set_column(column, "start", pa.array(starts))
    pq.write_table(repeated, index_path(scratch, shard))
    larger = replace(
        shard, tokens=shard.tokens * copies, documents=shard.documents * copies, bytes=shard.bytes * copies
    )
    fields = {**asdict(manifest), "splits": {"train": [larger], "val": []}}
    write_manifest(scratch, Manifest(**fields))
    large = Documents(read_manifests(scratch))
    places = [(next(iter(large.corpora)), "train", 0)]

    def look() -> None:
        found = search(large, tokenizer, Pattern("wherefore art thou Rxmeo", tokenizer), places, seconds=60)
        assert (found.cursor, found.matches) == (None, [])

    return {f"search through {larger.bytes / 1e6:.0f} MB": milliseconds(look, max(3, rounds // 5))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times = of_a_model(options.run, options.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        times |= of_a_search(options.run, options.rounds, Path(scratch))
    for name, taken in times.items():
        print(f"{name:<55} {taken:8.1f} ms")
    if options.json:
        options.json.write_text(json.dumps(times, indent=1))


if __name__ == "__main__":
    main()
