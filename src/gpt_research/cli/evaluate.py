"""`gpt-research evaluate`: measure a run, print the scores, write a result file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpt_research.base.errors import require
from gpt_research.config import require_step
from gpt_research.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from gpt_research.run import Run


@dataclass(frozen=True)
class EvaluateCommand(EvaluationSettings):
    """Measure a run's loss on a data set and its scores on benchmarks."""

    run: str = ""
    """Run folder to evaluate, or RUN@STEP for one of its checkpoints. Empty: the newest under
    runs/."""
    step: str = ""
    """Checkpoint to evaluate: newest, best (lowest validation loss) or its step.
    Default: the one that RUN@STEP names, else the newest."""
    ema: bool | None = None
    """Take the averaged weights (ema_decay), or with false those of the step. Default: the averaged
    ones if the checkpoint has them."""
    json: str = ""
    """Result file to write; a second file beside it holds the scores of each item. Empty:
    evaluation.json in the run folder."""
    harness: bool = False
    """Let lm-eval score the same items of the benchmarks that it has with its own code too, and
    show both scores."""
    columns: dict[str, str] = field(default_factory=dict)
    """Name that a column of the task has in the examples of --data, such as --columns.text
    sentence. Default: as in the training of the fine-tuned run."""
    audit: str = ""
    """Check published scores of this model instead: a file of JSON lines with task, metric, value
    as published and, if needed, variant and shots. Says which digits differ, and which known fault
    gives them."""
    memorisation: int = 0
    """Let the model write this many samples, and say how much of them is copied from the training
    data, whose index `gpt-research index` makes. 0 writes none."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Number format of the matrix products."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_step("step", self.step or "newest")
        require(self.memorisation >= 0, "memorisation", self.memorisation, "0 or more")


def run(command: EvaluateCommand) -> int:
    """Evaluate, write the result file and print the tables; return the exit code."""
    from rich.console import Console

    from gpt_research.base import startup
    from gpt_research.cli.evaluate_examples import evaluate_examples, is_of_examples
    from gpt_research.cli.tables import print_table
    from gpt_research.evaluation import results
    from gpt_research.evaluation.chosen_tasks import choose
    from gpt_research.evaluation.evaluate import Rescore, evaluate
    from gpt_research.evaluation.report import report
    from gpt_research.run import Run, named_or_newest

    choose(command)  # a mistyped name is noticed before the model is loaded, which takes longer
    if command.audit:
        return _audit(command)
    chosen = named_or_newest(command.run, command.step)
    if is_of_examples(command, chosen, command.memorisation):
        how = {"json": command.json, "device": command.device, "precision": command.precision}
        return evaluate_examples(command, chosen, columns=command.columns or None, **how)
    require(not command.columns, "columns", command.columns, "left out, because it is for examples of a fine-tuned run")
    rescore: Rescore | None = None
    if command.harness:  # lm-eval is an optional dependency
        from gpt_research.evaluation.harness import rescore_model

        rescore = rescore_model
    runtime = startup.start(command.device, command.precision)
    with _progress() as progress:
        opened = Run.open(chosen.folder, runtime.device, chosen.step, command.ema)
        copied = _memorisation(opened, command.memorisation) if command.memorisation else {}
        summary, measured = evaluate(opened, command, runtime, rescore=rescore, progress=progress)
    summary["settings"] = {"run": command.run, **summary["settings"]}
    if copied:
        summary["memorisation"] = copied
    path = Path(command.json) if command.json else chosen.folder / results.RESULT_NAME
    console = Console()
    for part in report(summary, measured):
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False)
        else:
            print_table(part)
    if copied:
        from gpt_research.cli.memorisation import in_words

        print("\n".join(in_words(copied)))
    if not command.json:
        results.keep_that_of_another_step(chosen.folder, summary["step"])
    results.write(path, summary, measured.values())  # after the table, because the disk may refuse it
    print(f"Result: {path}")
    return 0


def _memorisation(run: Run, samples: int) -> dict[str, Any]:
    from gpt_research.cli.memorisation import measure
    from gpt_research.config import GenerateConfig

    return measure(run, GenerateConfig(num_samples=samples))


def _audit(command: EvaluateCommand) -> int:
    """Check published scores; return 1 if one of them does not hold."""
    from gpt_research.base import startup
    from gpt_research.base.disk import cannot_write
    from gpt_research.base.files import write_json
    from gpt_research.evaluation.audit import audit, read_published
    from gpt_research.evaluation.evaluate import evaluated_model
    from gpt_research.run import Run, named_or_newest

    published = read_published(Path(command.audit), command.benchmarks)
    chosen = named_or_newest(command.run, command.step)
    runtime = startup.start(command.device, command.precision)
    opened = Run.open(chosen.folder, runtime.device, chosen.step, command.ema)
    model = evaluated_model(opened, command, runtime)
    found = []
    for finding in audit(model, published, command.benchmarks, command.limit, lambda said: print(said, flush=True)):
        print(finding.sentence(), flush=True)
        found.append(finding)
    hold = sum(finding.agrees for finding in found)
    which = f"{chosen.folder}, step {opened.step:,}, context {model.context:,}"
    print(f"{hold} of {len(found)} published scores hold for {which}.")
    if command.json:
        path, rows = Path(command.json), [finding.as_json() for finding in found]
        try:
            write_json(path, {"run": str(chosen.folder), "step": opened.step, "context": model.context, "audit": rows})
        except OSError as error:
            raise cannot_write(path, error, flag="--json", then="audit again") from None
        print(f"Result: {path}")
    return 0 if hold == len(found) else 1


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[int], object]]]:
    """Show a progress bar for each task, if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def begin(name: str, total: int) -> Callable[[int], object]:
            bar = bars.add_task(name, total=total)
            return lambda done: bars.advance(bar, done)

        yield begin
