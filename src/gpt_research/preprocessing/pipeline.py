"""From corpora to a data set: plan, index, learn, read, select, assemble, finish.

The stages run on datatrove's executors: processes of this machine, or a cluster that shares the file system. A run
that was killed goes on with the tasks that are not done; a run that is done is recognised and left as it is.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.data.shards import Manifest, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing import executors
from gpt_research.preprocessing.plan import Plan, Work, make_plan
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.preprocessing.stages import Assemble, Finish, Index, Learn, Read, Select, Stage

Watch = Callable[[str, Plan, Work], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Prepared:
    """What a call of `preprocess` leaves."""

    out: Path
    manifests: dict[str, Manifest]
    broken: dict[str, int]
    """Damaged pieces of input that were set aside, by reason."""
    reused: bool
    """The data set was there already."""


def _nobody_watches(stage: str, plan: Plan, work: Work) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def preprocess(config: PreprocessConfig, watch: Watch = _nobody_watches) -> Prepared | None:
    """Turn `config.corpora`, each given as NAME=PATH, into a data set at `config.out`.

    Args:
        watch: entered around each stage, for a progress bar.

    Returns:
        What was made; None where a cluster works on it now.

    Raises:
        UserError: wrong paths or settings, another data set in the way, a full disk, or damage under `strict`.
    """
    executors.start_server(config)
    out = Path(config.out)
    plan = make_plan(config)
    if (out / "dataset.json").is_file():
        return _reuse(out, plan)
    work = _work_folder(out, plan)
    try:
        stages, logs = _stages(work, plan, config), work.folder / "logs"
        if config.executor == "slurm":
            executors.submit(stages, logs, config)
            return None
        threading.Thread(target=_import_ahead).start()
        for name, stage, tasks in stages:
            with watch(name, plan, work):
                executors.run(name, stage, tasks, logs, config)
    except OSError as error:
        raise UserError(f"{out} could not be written ({error.strerror or error}). Free some space and start again: "
                        "what is done stays.") from None  # fmt: skip
    broken = _broken(work, plan)
    shutil.rmtree(work.folder)
    return Prepared(out, _manifests(out), broken, reused=False)


def _import_ahead() -> None:
    """Import what takes long while this process waits: what runs the stages, and what the last of them draws with."""
    for name in ("datatrove.executor", "gpt_research.preprocessing.card.plots"):
        importlib.import_module(name)


def _stages(work: Work, plan: Plan, config: PreprocessConfig) -> list[tuple[str, Stage, int]]:
    tasks, benchmarks = len(plan.tasks), len(plan.benchmarks)
    return [
        *([("index", Index(work), benchmarks)] if benchmarks else []),
        *([("learn", Learn(work), 1)] if config.tokenizer == "train" else []),
        ("read", Read(work, config.strict), tasks),
        ("select", Select(work), 1),
        ("assemble", Assemble(work), tasks),
        ("finish", Finish(work), 1),
    ]


def _work_folder(out: Path, plan: Plan) -> Work:
    """Return the work folder: that of a run cut short if it had the same plan, else a new one."""
    work = Work(out / ".work")
    try:
        if (work.folder / "plan.json").is_file() and work.load_plan().as_json() == plan.as_json():
            return work
    except (ValueError, KeyError, TypeError):
        pass  # a plan of another version: begin again
    tokenizer = _given_tokenizer(plan.options["tokenizer"])
    try:
        shutil.rmtree(work.folder, ignore_errors=True)
        work.folder.mkdir(parents=True, exist_ok=True)
        if tokenizer:
            tokenizer.save(work.folder / "tokenizer.json")
        work.save_plan(plan)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}). Name another folder with --out.") from None
    return work


def _given_tokenizer(choice: str) -> Tokenizer | None:
    """Return the tokenizer that is there before anything is read; None where it is to be learnt."""
    if choice == "train":
        return None
    if choice == "gpt2":
        return Tokenizer.gpt2()
    if not Path(choice).is_file():
        raise UserError(f'tokenizer is "{choice}", but it must be gpt2, train or a tokenizer.json.')
    return Tokenizer.load(Path(choice))


def _reuse(out: Path, plan: Plan) -> Prepared:
    """Return the data set that is there if it is the one asked for."""
    found = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    if found.get("plan") != plan.digest:
        old, new = found.get("options", {}), plan.options
        changed = [f"{k}: {old.get(k)!r} -> {new[k]!r}" for k in new if old.get(k) != new[k]]
        raise UserError(
            f"{out} holds a data set of other {'settings (' + '; '.join(changed) + ')' if changed else 'input'}. "
            "Name another folder with --out, or delete that one."
        )
    work, broken = Work(out / ".work"), {}
    if work.folder.is_dir():  # a cluster has finished it, or the program was stopped right before its end
        with contextlib.suppress(OSError):
            broken = _broken(work, plan)
        shutil.rmtree(work.folder, ignore_errors=True)
    return Prepared(out, _manifests(out), broken, reused=True)


def _manifests(out: Path) -> dict[str, Manifest]:
    return {name: manifest for name, (_, manifest) in read_manifests(out).items()}


def _broken(work: Work, plan: Plan) -> dict[str, int]:
    found: dict[str, int] = {}
    for rank in range(len(plan.tasks)):
        for reason, count in work.load_json("read", rank)["broken"].items():
            found[reason] = found.get(reason, 0) + count
    return found
