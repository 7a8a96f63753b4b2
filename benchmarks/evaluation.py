"""How fast tasks are scored, beside lm-eval with its model `hf` over the same weights.

    python benchmarks/evaluation.py runs/demo --benchmarks DIR --limit 300
    python benchmarks/evaluation.py runs/demo --benchmarks DIR --tasks blimp,arc_easy:mc_5shot --rounds 3

The run is exported for transformers, and both score the same items: ours as `evaluate` does, theirs
with lm-eval's own scoring at batch sizes of 1 (its default) and 32. They take turns in each round.
The time is that of the processor, which other programs disturb less, and counts everything from
texts to scores; loading the model counts for neither. The table has medians over the rounds, and
the last column is the ratio to the faster of the two batch sizes. Accuracies must be equal on items
without ties, or the script stops.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpt_research.base import startup
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.evaluation.chosen_tasks import Items, items_of
from gpt_research.evaluation.evaluate import measure_task
from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.forms import Question
from gpt_research.evaluation.harness import rescore
from gpt_research.evaluation.tasks.arc_easy import TASK as ARC
from gpt_research.evaluation.tasks.table import task_named
from gpt_research.export.exporting import export_run
from gpt_research.run import Run

BATCHES = (1, 32)


def seconds(do: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of a call, and what it returned."""
    start = time.process_time()
    found = do()
    return time.process_time() - start, found


def fair(item: Question, tokenizer: Tokenizer, context: int) -> bool:
    """Return whether lm-eval can score a question as we do: it counts the first of equal choices,
    and stops at an answer that is longer than the context.
    """
    longest = max(len(tokenizer.encode(" " + choice)) for choice in item.choices)
    return len(set(item.choices)) == len(item.choices) and longest < context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--benchmarks", default="", help="folder of official files")
    parser.add_argument("--tasks", default="blimp,arc_easy,sciq,piqa,hellaswag,lambada")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    warnings.filterwarnings("ignore", module="lm_eval")
    runtime = startup.start("cpu", "fp32")
    run = Run.open(options.run, runtime.device)
    context = run.model.config.block_size
    ours = EvaluatedModel(run.model, run.tokenizer, runtime, context)
    with tempfile.TemporaryDirectory() as folder:
        export_run(Path(options.run), Path(folder) / "hf")
        model = AutoModelForCausalLM.from_pretrained(Path(folder) / "hf", local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "hf", local_files_only=True)
    theirs = {
        size: HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=size, device="cpu", max_length=context)
        for size in BATCHES
    }
    print(f"{options.run}, {run.model.num_parameters():,} parameters, context {context}, {options.threads} threads")
    print(f"| task | items | ours s | {' | '.join(f'hf, batch {size} s' for size in BATCHES)} | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    all_ours, all_best = 0.0, 0.0
    for name in options.tasks.split(","):
        task = task_named(name)
        source, items = items_of(name, task, options.benchmarks)
        items = items[: options.limit]
        if all(isinstance(item, Question) for item in items):
            items = [item for item in items if fair(item, run.tokenizer, context)]
        asked = Items(task, source, items, len(items))
        # Every task of questions has the form of lm-eval's task arc_easy.
        known = task if task.lm_eval is not None else ARC
        times: dict[Any, list[float]] = {key: [] for key in ("ours", *BATCHES)}
        for _ in range(options.rounds):
            spent, result = seconds(partial(measure_task, ours, name, asked))
            times["ours"].append(spent)
            for size, hf in theirs.items():
                spent, found = seconds(partial(rescore, hf, {name: items}, {name: known}))
                times[size].append(spent)
                same = abs(found[name]["accuracy"] - result.estimates["accuracy"].value) < 1e-9
                if not same and not result.facts.get("ties") and not result.facts.get("fused"):
                    raise SystemExit(f"{name}: {found[name]} and {result.as_json()['scores']}")
        medians = {key: statistics.median(of_key) for key, of_key in times.items()}
        best = min(medians[size] for size in BATCHES)
        all_ours, all_best = all_ours + medians["ours"], all_best + best
        cells = " | ".join(f"{medians[size]:.2f}" for size in BATCHES)
        print(
            f"| {name} | {len(items):,} | {medians['ours']:.2f} | {cells} | {best / medians['ours']:.1f} |", flush=True
        )
    print(f"all: {all_best / all_ours:.1f} times as fast as the faster batch size of each")


if __name__ == "__main__":
    main()
