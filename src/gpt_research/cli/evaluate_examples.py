"""`gpt-research evaluate` of a fine-tuned run on a file of examples of its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_research.base.errors import UserError

if TYPE_CHECKING:
    from gpt_research.evaluation.settings import EvaluationSettings
    from gpt_research.run_reference import RunReference


NOT_FOR_EXAMPLES = ("split", "max_tokens", "limit", "context", "stride", "ema", "harness")
"""Settings that the examples of a fine-tuned run know nothing of."""


def is_of_examples(command: EvaluationSettings, chosen: RunReference, memorisation: int) -> bool:
    """Return whether the examples of a fine-tuned run are to be measured, and not a data set,
    benchmarks or what the run writes by itself.

    Args:
        memorisation: the number of samples that are looked for in the training data; 0 for none.
    """
    from gpt_research.base.errors import UserError
    from gpt_research.finetuning.fine_tuned import finetuning_of

    others = command.named_tasks or command.suite or command.benchmarks or memorisation
    if others or (command.data and Path(command.data).is_dir()):
        return False
    if Path(command.data).is_file() or finetuning_of(chosen) is None:
        return Path(command.data).is_file()
    if command.data and not Path(command.data).exists():
        raise UserError(f"There is no file or folder {command.data}. Name examples or a data set with --data.")
    return True


def evaluate_examples(
    command: EvaluationSettings,
    chosen: RunReference,
    *,
    columns: Mapping[str, str] | None = None,
    json: str,
    device: str,
    precision: str,
) -> int:
    """Measure the run, print its scores with intervals and write the result; return the exit
    code.

    Args:
        columns: the names that the file has for columns of the task; by default those of the run.

    Raises:
        UserError: as `open_fine_tuned` does, or a setting means nothing here.
    """
    from rich import box
    from rich.table import Table

    from gpt_research.base import startup
    from gpt_research.cli.tables import print_table
    from gpt_research.evaluation import results
    from gpt_research.evaluation.statistics import number
    from gpt_research.finetuning.fine_tuned import evaluate_fine_tuned, open_fine_tuned

    usual = {field.name: field.default for field in dataclasses.fields(command)}
    for name in NOT_FOR_EXAMPLES:
        if (value := getattr(command, name)) != usual[name]:
            raise UserError(
                f"{name} is {value}, which means nothing here: what is measured are all examples of a file, with the "
                f"whole context of the fine-tuned run {chosen}. Leave --{name} out, or name benchmarks with --tasks, "
                "or a data set with --data."
            )
    runtime = startup.start(device, precision)
    opened = open_fine_tuned(chosen, command.data, runtime.device, columns)
    summary, result = evaluate_fine_tuned(opened, runtime, command.batch_size)
    found = summary["tasks"][result.task]
    title = f"{opened.folder}, step {opened.step:,}, on {found['items']:,} examples of {found['source']['file']}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("score", no_wrap=True)
    for heading in ("value", "95% interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, score in found["scores"].items():
        low, high = (number(end) if end is not None else "none" for end in score["interval"])
        table.add_row(name, number(score["value"]) if score["value"] is not None else "none", f"{low} to {high}")
    print_table(table)
    if found["cut"]:
        print(f"{found['cut']:,} examples are longer than the context and were cut.")
    path = Path(json) if json else chosen.folder / results.RESULT_NAME
    if not json:
        results.keep_that_of_another_step(chosen.folder, summary["step"])
    results.write(path, summary, [result])
    print(f"Result: {path}")
    return 0
