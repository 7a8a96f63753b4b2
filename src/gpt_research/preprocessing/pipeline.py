"""From corpora to a data set.

    plan -> [index benchmarks] -> [make tokenizer] -> read -> select -> assemble -> finish

Each stage reads what the one before it left in the work folder. An executor runs its tasks: on
processes of this machine, or on a cluster that shares the file system. A run that was killed
continues with the tasks that are not done. A run that is complete is recognised and left as it is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.data.shards import Manifest, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing import executors, warm_up
from gpt_research.preprocessing.cluster.progress import RunProgress
from gpt_research.preprocessing.cluster.ray import work_on_ray
from gpt_research.preprocessing.cluster.slurm import (
    SlurmSettings,
    SlurmWorkers,
    cancel_jobs,
    refuse_while_jobs_work_on,
    work_on_slurm,
)
from gpt_research.preprocessing.dry_run import Look, look
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.plan import make_plan
from gpt_research.preprocessing.readers.catalogue import resolve
from gpt_research.preprocessing.room import refuse_out_in_corpus, require_room
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.stages.assemble import Assemble
from gpt_research.preprocessing.stages.character_vocabulary import FindCharacters, UniteCharacters
from gpt_research.preprocessing.stages.finish import Finish
from gpt_research.preprocessing.stages.index_benchmarks import IndexBenchmarks
from gpt_research.preprocessing.stages.read import Read
from gpt_research.preprocessing.stages.select import Select
from gpt_research.preprocessing.stages.stage import Stage
from gpt_research.preprocessing.stages.train_tokenizer import TrainTokenizer
from gpt_research.preprocessing.work_folder import WorkFolder

Watch = Callable[[str, JobPlan, WorkFolder], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Prepared:
    """The result of `preprocess`."""

    out: Path
    manifests: dict[str, Manifest]
    broken: dict[str, int]
    """Damaged pieces of input that were set aside, by reason."""
    reused: bool
    """The data set existed already."""


def _no_watch(stage: str, plan: JobPlan, work: WorkFolder) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _say_nothing(sentence: str) -> None:
    pass


def preprocess(
    config: PreprocessConfig, watch: Watch = _no_watch, say: Callable[[str], None] = _say_nothing
) -> Prepared | None:
    """Turn `config.corpora`, each given as NAME=PATH, into a data set at `config.out`.

    Args:
        watch: a context that is entered around each stage, for a progress bar.
        say: called with sentences about the jobs of a cluster.

    Returns:
        The data set; None if a cluster works on it now.

    Raises:
        UserError: wrong paths or settings, another data set at `config.out`, a place within a
            corpus, a full disk, or damage under `strict`.
    """
    out = Path(config.out)
    corpora = [resolve(spec) for spec in config.corpora]
    refuse_out_in_corpus(out, corpora)
    plan = make_plan(config, corpora)
    if (out / "dataset.json").is_file():
        return _reuse(out, plan)
    require_room(out, plan)
    # A run of one task needs no workers, because it runs in this process.
    if config.executor == "local" and executors.number_of_workers(config, len(plan.tasks)) > 1:
        warm_up.start_fork_server(config)
    work = _work_folder(out, plan)
    if config.executor != "slurm":
        refuse_while_jobs_work_on(work.folder, out, "already")
    try:
        stages = stages_of(work, plan, config.strict)
        if config.executor == "local":
            for name, stage, tasks in stages:
                with watch(name, plan, work):
                    executors.run(name, stage, tasks, work.folder / "logs", config)
        elif not _work_on_cluster(config, work, plan, watch, say):
            return None
    except OSError as error:
        raise cannot_write(out, error, then="start again: what is done stays") from None
    broken = _broken(work, plan)
    shutil.rmtree(work.folder, ignore_errors=True)  # the data set is whole, whatever this leaves
    return Prepared(out, _manifests(out), broken, reused=False)


def look_at(config: PreprocessConfig) -> list[Look]:
    """Return what a run would find in each of `config.corpora`; write nothing.

    Raises:
        UserError: as `preprocess` does before it begins.
    """
    corpora = [resolve(spec) for spec in config.corpora]
    refuse_out_in_corpus(Path(config.out), corpora)
    plan = make_plan(config, corpora)
    return [look(corpus, plan) for corpus in corpora]


def stages_of(work: WorkFolder, plan: JobPlan, strict: bool) -> list[tuple[str, Stage, int]]:
    """Return name, stage and number of tasks of each stage that the run needs, in order.

    Args:
        strict: stop at the first damaged piece of input.
    """
    tasks, benchmarks = len(plan.tasks), len(plan.benchmarks)
    return [
        *([("index", IndexBenchmarks(work), benchmarks)] if benchmarks else []),
        *_learn(work, plan.options["tokenizer"], tasks),
        ("read", Read(work, resolve, strict), tasks),
        ("select", Select(work), 1),
        ("assemble", Assemble(work), tasks),
        ("finish", Finish(work), 1),
    ]


def _learn(work: WorkFolder, tokenizer: str, tasks: int) -> list[tuple[str, Stage, int]]:
    """Return the stages that make a tokenizer from the texts; none if one was given."""
    if tokenizer == "train":
        return [("learn", TrainTokenizer(work, resolve), 1)]
    if tokenizer == "char":
        return [("scan", FindCharacters(work, resolve), tasks), ("learn", UniteCharacters(work), 1)]
    return []


def _work_on_cluster(
    config: PreprocessConfig, work: WorkFolder, plan: JobPlan, watch: Watch, say: Callable[[str], None]
) -> bool:
    """Let the workers of a cluster do the run; return whether it is done."""
    stages = stages_of(work, plan, config.strict)
    progress = RunProgress(work.folder / "logs", [(name, tasks) for name, _, tasks in stages])
    workers = executors.number_of_workers(config, len(plan.tasks))

    def follow(goes_on: Callable[[], bool]) -> bool:
        return progress.follow(lambda stage: watch(stage, plan, work), goes_on)

    if config.executor == "ray":
        work_on_ray(stages, workers, progress, follow)
        return True
    settings = SlurmSettings(config.slurm_partition, config.slurm_time, config.slurm_options, workers, config.strict)
    return work_on_slurm(SlurmWorkers(work.folder, settings), progress, say, follow if config.wait else None)


def _work_folder(out: Path, plan: JobPlan) -> WorkFolder:
    """Return the work folder of an interrupted run of the same plan, or else a new one."""
    work = WorkFolder(out / ".work")
    # If a plan cannot be read, because it is of another version, the run starts again.
    with contextlib.suppress(ValueError, KeyError, TypeError):
        # Files that no reader takes may come and go without a change of the output.
        if (work.folder / "plan.json").is_file():
            begun = work.load_plan()
            if (begun.digest, begun.plugins) == (plan.digest, plan.plugins):
                return work
    refuse_while_jobs_work_on(work.folder, out, "with other settings")
    tokenizer = _given_tokenizer(plan.options["tokenizer"])
    try:
        shutil.rmtree(work.folder, ignore_errors=True)
        work.folder.mkdir(parents=True, exist_ok=True)
        if tokenizer:
            tokenizer.save(work.folder / "tokenizer.json")
        work.save_plan(plan)
    except OSError as error:
        raise cannot_write(out, error, flag="--out") from None
    return work


def _given_tokenizer(choice: str) -> Tokenizer | None:
    """Return the tokenizer that the user chose; None if it shall be made from the texts."""
    if choice in ("train", "char"):
        return None
    if choice == "gpt2":
        return Tokenizer.gpt2()
    if not Path(choice).is_file():
        raise UserError(f'tokenizer is "{choice}", but it must be gpt2, train, char or a tokenizer.json.')
    return Tokenizer.load(Path(choice))


def _reuse(out: Path, plan: JobPlan) -> Prepared:
    """Return the data set at `out` if it was made by the same plan.

    Raises:
        UserError: it was made with other settings or of other input.
    """
    written = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    if written.get("plan") != plan.digest:
        old, new = written.get("options", {}), plan.options
        changed = [f"{k}: {old.get(k)!r} -> {new.get(k)!r}" for k in {**new, **old} if old.get(k) != new.get(k)]
        raise UserError(
            f"{out} holds a data set of other {'settings (' + '; '.join(changed) + ')' if changed else 'input'}. "
            "Name another folder with --out, or delete that one."
        )
    work, broken = WorkFolder(out / ".work"), {}
    # A work folder is left if a cluster made the data set, or if the program was stopped right
    # before its end.
    if work.folder.is_dir():
        cancel_jobs(work.folder)
        with contextlib.suppress(OSError):
            broken = _broken(work, plan)
        shutil.rmtree(work.folder, ignore_errors=True)
    return Prepared(out, _manifests(out), broken, reused=True)


def _manifests(out: Path) -> dict[str, Manifest]:
    return {name: manifest for name, (_, manifest) in read_manifests(out).items()}


def _broken(work: WorkFolder, plan: JobPlan) -> dict[str, int]:
    """Add up the damaged pieces that the tasks set aside, by reason."""
    broken: dict[str, int] = {}
    for rank in range(len(plan.tasks)):
        for reason, count in work.load_json("read", rank)["broken"].items():
            broken[reason] = broken.get(reason, 0) + count
    return broken
