"""`gpt-research finetune`: train a run further on examples of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_research.base import hints
from gpt_research.base.errors import require
from gpt_research.finetuning.settings import FinetuneSettings

if TYPE_CHECKING:
    from gpt_research.lab.label_study import TrialJob, TrialScore


@dataclass(frozen=True)
class FinetuneCommand(FinetuneSettings):
    """Fine-tune a run."""

    study: bool = False
    """Ask what pretraining buys: fine-tune with the run's weights and from scratch on more and more
    examples, with several seeds, into the folder out."""
    test: str = ""
    """With --study: the file of examples that the scores are of."""
    sizes: str = "10,100,500,2000"
    """With --study: numbers of training examples; one beyond those that there are means all."""
    seeds: int = 5
    """With --study: seeds of each size, the same on both sides."""
    tune_at: int = 500
    """With --study: training examples of the trials that choose the learning rates."""
    pretrained_on: str = ""
    """With --study: the data set of the run, in which test texts are looked for, if it is not where
    the run found it."""
    workers: int = 0
    """With --study: fine-tunings at a time, each with one core or card; 0 takes all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.workers <= 1024, "workers", self.workers, "0 to 1024")

    @classmethod
    def settings_of_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of the run that `--resume` names, by flag name."""
        resume = str(given.get("resume") or "")
        if resume in ("", "auto", "never"):
            return {}
        from gpt_research.base.errors import UserError
        from gpt_research.base.settings import to_dict
        from gpt_research.finetuning.fine_tuned import settings_of
        from gpt_research.run_reference import run_reference

        reference = run_reference(resume)
        settings = settings_of(reference)
        # RUN@STEP was made a `step`, which here is the checkpoint of the run that the fine-tuning
        # began with.
        if step := str(given.get("step") or ""):
            raise UserError(
                f"step is {step}, but a fine-tuning goes on from its newest checkpoint. Give --resume "
                f"{reference.folder} without @ and --step."
            )
        return {**to_dict(settings), "resume": resume, "out": str(reference.folder)}

    def settings(self) -> FinetuneSettings:
        """Return the settings of one fine-tuning, without those of the command."""
        return FinetuneSettings(**{field.name: getattr(self, field.name) for field in fields(FinetuneSettings)})


def run(command: FinetuneCommand) -> int:
    """Fine-tune, and print how it ended; return the exit code."""
    if command.study:
        return _study(command)
    from rich.console import Console

    from gpt_research.cli.terminal_reporter import TerminalReporter
    from gpt_research.finetuning.finetune import finetune

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    reporter = TerminalReporter(console)
    try:
        outcome = finetune(command.settings(), reporter)
    finally:
        reporter.close()
    if reporter.bar is None:  # only the main process prints
        return 0 if outcome.stopped_by is None else 128 + outcome.stopped_by
    go_on = hints.command("finetune", "--resume", outcome.run)
    if outcome.stopped_by is not None:
        console.print(f"Stopped at step {outcome.step:,}, saved. Go on with: {go_on}")
        return 128 + outcome.stopped_by
    if outcome.ended_early:
        console.print(f"Stopped early at step {outcome.step:,}: no lower validation loss any more.")
    elif outcome.steps_here == 0:
        console.print(f"{outcome.run} has all its {outcome.step:,} steps already: nothing to train.")
    else:
        console.print(f"Trained {outcome.steps_here:,} steps, {outcome.step:,} in all.")
    best = f"{outcome.run}@best" if command.val else str(outcome.run)
    console.print(f"  scores    {hints.command('evaluate', best, '--data', 'FILE')}")
    if command.has_head:
        console.print(f"  export    {hints.command('export', best, '--out', 'FOLDER')}")
    else:
        console.print(f"  generate  {hints.command('generate', best)}")
    return 0


def _study(command: FinetuneCommand) -> int:
    """Make a study, and print its table; return the exit code."""
    import dataclasses
    from functools import partial

    from gpt_research.base.errors import UserError
    from gpt_research.base.locks import take_lock
    from gpt_research.checkpoint.files import find_step
    from gpt_research.finetuning.finetune import prepared
    from gpt_research.lab.label_study import SIDES, LabelStudy, run_study, shown
    from gpt_research.lab.overlap import overlap
    from gpt_research.lab.trial_pool import TrialPool, environments
    from gpt_research.lab.workers import usual_workers
    from gpt_research.run_reference import run_reference
    from gpt_research.settings_history import run_config

    try:
        sizes = [int(size) for size in command.sizes.split(",")]
    except ValueError:
        raise UserError(f"sizes is {command.sizes}, but it must be numbers with commas between them.") from None
    command.check_named()
    reference = run_reference(command.run, command.step)
    config = run_config(reference.folder)
    # The study is of this checkpoint, also if the run goes on meanwhile.
    step = str(find_step(reference.folder, reference.step))
    settings = dataclasses.replace(command.settings(), run=str(reference.folder), step=step)
    study = LabelStudy(settings, command.test, sizes, command.seeds, command.tune_at)
    # Every example is read and encoded before hours of training, and not after them.
    remarks: dict[str, None] = {}
    for judged_on in (command.val, command.test):
        training, objective = prepared(dataclasses.replace(settings, val=judged_on))
        remarks |= dict.fromkeys(objective.remarks(training))

    def looked_for() -> dict[str, Any]:
        found = overlap(reference, objective.files["val"], command.pretrained_on)
        return {**dataclasses.asdict(found), "in_words": found.in_words}

    def say(line: str) -> None:
        print(line, flush=True)

    count, cards = usual_workers(dataclasses.replace(config, device=command.device), command.workers)
    Path(command.out).mkdir(parents=True, exist_ok=True)
    with take_lock(Path(command.out), "owner.json"), TrialPool(environments(count, cards)) as pool:
        run = partial(pool.results, take_trial)
        result = run_study(study, run, settings.rate(config.model.n_embd), say, looked_for, list(remarks))
    print(f"{result['score']}, mean over {result['seeds']} seeds (95% interval):")
    for one in result["sizes"]:
        sides = (f"{name} {shown(one[name])}" for name in (*SIDES, "difference"))
        print(f"  {one['examples']:>6,} examples: {', '.join(sides)}")
    print(f"Page: {command.out}/study.html")
    return 0


def take_trial(job: TrialJob) -> TrialScore:
    """Take one trial of a study, in a process of its own: fine-tune, measure and clear up.

    It goes on from its checkpoint if it was stopped, and its run folder is gone when it is done.

    Raises:
        UserError: a file or a setting is wrong.
    """
    import math
    import shutil
    import time

    from gpt_research.base import plugins, startup
    from gpt_research.base.errors import NotFiniteError
    from gpt_research.finetuning.fine_tuned import open_fine_tuned, scores_of
    from gpt_research.finetuning.finetune import finetune
    from gpt_research.lab.label_study import TrialScore
    from gpt_research.run_reference import RunReference

    for path in job.plugins:
        plugins.load(path)
    out, started_at = Path(job.settings.out), time.perf_counter()
    steps, score, loss, trained_at = 0, 0.0, math.inf, None
    try:
        outcome = finetune(job.settings)
        if outcome.stopped_by is not None:
            raise KeyboardInterrupt
        steps, trained_at = outcome.step, time.perf_counter()
        runtime = startup.start(job.settings.device, "fp32")
        opened = open_fine_tuned(RunReference(out), job.judged_on, runtime.device)
        found, loss = scores_of(opened, runtime, job.score, job.loss)
        score, loss = found if math.isfinite(found) else 0.0, loss if math.isfinite(loss) else math.inf
    except NotFiniteError:  # this learning rate is too high, which is an answer
        pass
    ended_at = time.perf_counter()
    trained_at = trained_at or ended_at
    shutil.rmtree(out, ignore_errors=True)
    return TrialScore(score, loss, steps, trained_at - started_at, ended_at - trained_at)
