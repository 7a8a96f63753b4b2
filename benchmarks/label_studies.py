"""What did pretraining buy, on seven tasks? Runs the study of each, and puts them on one page.

    python benchmarks/label_studies.py RUN --labelled FOLDER --author FOLDER --out FOLDER [--tasks sst2,trec]

GPT-1's four forms on real tasks: classification (SST-2, TREC, the author of a paragraph), pairs
(SICK's entailment, MRPC), similarity (SICK's relatedness) and choice (MCTest). --labelled holds the
official files in the folders sst2, trec, sick, mrpc and mctest160; --author is what author_task.py
made. TREC has no validation examples, so 500 of its training examples are taken.

Each study is `gpt-research finetune RUN --study`; flags that this script does not know go to it.
FOLDER gets a folder for each task, studies.md (the table) and studies.html (the plots). A run that
was stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from gpt_research.base.files import write_text
from gpt_research.finetuning.tables import read_rows
from gpt_research.lab.label_study import SIDES, shown, study_chart
from gpt_research.report.html import code, element, joined, page, section, table

TASKS = {
    "sst2": ("classify", "sst2/stsa.binary.train", "sst2/stsa.binary.dev", "sst2/stsa.binary.test"),
    "trec": ("classify", "trec/TREC.train", "", "trec/TREC.test"),
    "sick": ("pairs", "sick/SICK_train.txt", "sick/SICK_trial.txt", "sick/SICK_test_annotated.txt"),
    "mrpc": ("pairs", "mrpc/msr-para-train.tsv", "mrpc/msr-para-val.tsv", "mrpc/msr-para-test.tsv"),
    "relatedness": ("similarity", "sick/SICK_train.txt", "sick/SICK_trial.txt", "sick/SICK_test_annotated.txt"),
    "mctest": (
        "choice",
        "mctest160/mc160.train.statements.tsv",
        "mctest160/mc160.dev.statements.tsv",
        "mctest160/mc160.test.statements.tsv",
    ),
    "author": ("classify", "train.jsonl", "val.jsonl", "test.jsonl"),
}
"""The form of each task, and its files: training, validation and test."""
HELD_OUT = 500
"""Training examples that become validation examples if a task has none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="pretrained run, or RUN@STEP")
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--author", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="", help="some of them; by default all whose files are given")
    asked, rest = parser.parse_known_args()
    names = asked.tasks.split(",") if asked.tasks else [name for name in TASKS if name != "author" or asked.author]
    if unknown := [name for name in names if name not in TASKS]:
        raise SystemExit(f"There is no task {unknown[0]!r}, only {', '.join(TASKS)}.")
    if "author" in names and asked.author is None:
        raise SystemExit("The author task needs --author: the folder that benchmarks/author_task.py made.")
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        task, *files = TASKS[name]
        folder = asked.author if name == "author" else asked.labelled
        data, val, test = (str(folder / file) if file else "" for file in files)
        if not val:
            data, val = held_out(Path(data), task, asked.out / "data")
        out = asked.out / name
        study = ["--study", "--task", task, "--data", data, "--val", val, "--test", test, "--out", str(out), *rest]
        print(f"{name}: finetune {asked.run} {' '.join(study)}", flush=True)
        done = subprocess.run([sys.executable, "-m", "gpt_research", "finetune", asked.run, *study], check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        found[name] = json.loads((out / "result.json").read_text(encoding="utf-8"))
        write_results(asked.out, asked.run, found)
    print((asked.out / "studies.md").read_text(encoding="utf-8"))
    print(f"Page: {asked.out / 'studies.html'}")


def held_out(data: Path, task: str, folder: Path) -> tuple[str, str]:
    """Split training examples; return the files of training and validation."""
    rows = read_rows(data, task)
    order = np.random.default_rng(1337).permutation(len(rows))
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{data.name}.train.jsonl", folder / f"{data.name}.val.jsonl"
    for path, chosen in zip(paths, (order[HELD_OUT:], order[:HELD_OUT]), strict=True):
        write_text(path, "".join(json.dumps(dict(rows[number].values)) + "\n" for number in sorted(chosen)))
    return str(paths[0]), str(paths[1])


def write_results(folder: Path, run: str, found: dict[str, dict[str, Any]]) -> None:
    """Write the table as Markdown, and the page."""
    headings = ["task", "score", "examples", *SIDES, "difference (paired)"]
    rows = [
        [name, result["score"], f"{one['examples']:,}", *(shown(one[part]) for part in (*SIDES, "difference"))]
        for name, result in found.items()
        for one in result["sizes"]
    ]
    lines = [" | ".join(cells) for cells in (headings, ["---"] * len(headings), *rows)]
    notes = [f"- {name}: {result['overlap']['in_words']}" for name, result in found.items()]
    write_text(folder / "studies.md", "\n".join([*(f"| {line} |" for line in lines), "", *notes, ""]))
    plots = [study_chart(result, name) for name, result in found.items()]
    parts = [
        ("Plots", section("Plots", element("div", joined(plots), class_="figures"))),
        ("Scores", section("Scores", table("Scores with 95% intervals", headings, rows))),
        ("Test texts", section("Test texts in the pretraining data", *(element("p", note[2:]) for note in notes))),
    ]
    lead = element("p", f"Fine-tuned with the weights of {run}, and from scratch.", class_="lead")
    command = f"python benchmarks/label_studies.py {run} --labelled FOLDER --author FOLDER --out {folder}"
    write_text(folder / "studies.html", page("What pretraining buys", lead, parts, code(command, "command")))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # the study has said how to go on
        sys.exit(130)
