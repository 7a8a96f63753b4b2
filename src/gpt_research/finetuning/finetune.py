"""Fine-tune a run: the training loop with an objective that reads labelled examples.

`prepared` makes of the settings what the loop takes: training settings and an objective. The result
is a run folder like any other; what is special about it stands in the lineage of its checkpoints,
under "finetune".
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_research.base import slurm
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.config import OptimizerConfig, TrainConfig
from gpt_research.data.chat_format import END, MARKS
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning.examples import Classes, ExampleFile
from gpt_research.finetuning.fine_tuned import finetuning_of
from gpt_research.finetuning.forms import HEAD_TOKENS, with_special_tokens
from gpt_research.finetuning.head_objective import HeadObjective
from gpt_research.finetuning.objective import Finetuning
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.finetuning.text_objective import TextObjective
from gpt_research.model_config import GPTConfig
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.settings_history import run_config
from gpt_research.training.loop import train
from gpt_research.training.reporter import Outcome, Reporter

IN_TRAIN_CONFIG = (
    "learning_rate",
    "schedule",
    "weight_decay",
    "grad_clip",
    "seed",
    "precision",
    "dropout",
)
"""Settings whose change the training loop notices itself."""
OF_THE_MODEL = ("task", "columns", "labels", "layers", "from_scratch", "lora", "lora_alpha", "lora_matrices")
"""Settings that --allow_change cannot change, because the weights in the folder depend on them."""


def finetune(settings: FinetuneSettings, reporter: Reporter | None = None, until: int | None = None) -> Outcome:
    """Fine-tune as `settings` say, from the start or from the step at which the folder stopped.

    Raises:
        UserError: a setting, a file of examples, the run or the folder is wrong.
    """
    config, objective = prepared(settings)
    return train(config, reporter, until, lambda _: objective)


def prepared(settings: FinetuneSettings) -> tuple[TrainConfig, Finetuning]:
    """Return the training settings and the objective of a fine-tuning.

    Raises:
        UserError: as `finetune` does.
    """
    settings.check_named()
    reference = run_reference(settings.run, settings.step)
    objective = _objective(settings, reference)
    return _train_config(settings, objective, reference), objective


def _objective(settings: FinetuneSettings, source: RunReference) -> Finetuning:
    task, out = settings.task, Path(settings.out)
    assert task is not None, "`prepared` has checked it"
    shape, tokenizer, vocabulary = _model_of(settings, source)
    before = _begun(out)
    train_file = ExampleFile.read(settings.data, task, settings.columns)
    val_file = ExampleFile.read(settings.val, task, settings.columns) if settings.val else None
    if task == "chat":
        tokenizer = with_special_tokens(tokenizer, MARKS, end_of_text=END)
    elif task != "complete":
        tokenizer = with_special_tokens(tokenizer, HEAD_TOKENS)
    model = dataclasses.replace(shape, vocab_size=tokenizer.vocab_size, dropout=settings.dropout)
    shared: dict[str, Any] = {"source_vocabulary": vocabulary}
    if before is not None:
        begun_with = run_config(out)
        shared["begun_batch"] = begun_with.tokens_per_step // begun_with.model.block_size
    if task in ("classify", "pairs"):
        classes = Classes.of(train_file, settings.labels).in_order_of((before or {}).get("labels", ()))
        if val_file is not None:
            classes.check(val_file, str(train_file.path))
        shared["classes"] = classes
    if task == "similarity":
        labels = [example.label for example in train_file.examples]
        shared["scale"] = (min(labels), max(labels))
        if min(labels) == max(labels):
            raise UserError(f"{train_file.path} holds one label only ({labels[0]:g}), and two are needed to compare.")
    _check_settings(settings, out)
    kind = HeadObjective if settings.has_head else TextObjective
    return kind(settings, tokenizer, model, train_file, val_file, **shared)


def _begun(out: Path) -> dict[str, Any] | None:
    """Return what the lineage says of the fine-tuning that a folder holds; None if it has none."""
    return finetuning_of(RunReference(out, "newest")) if saved_steps(out) else None


def _model_of(settings: FinetuneSettings, source: RunReference) -> tuple[GPTConfig, Tokenizer, int]:
    """Return shape and tokenizer, and the vocabulary of the source: of a fine-tuning that has
    begun, those in its folder.
    """
    out = Path(settings.out)
    if (before := _begun(out)) is not None:
        return run_config(out).model, Tokenizer.load(out / "tokenizer.json"), int(before["source_vocabulary"])
    folder = source.folder
    shape, tokenizer = run_config(folder).model, Tokenizer.load(folder / "tokenizer.json")
    if shape.vocab_size != tokenizer.vocab_size:
        raise UserError(
            f"The model in {folder} has {shape.vocab_size} tokens and its tokenizer.json {tokenizer.vocab_size}. Put "
            "the tokenizer it was trained with there."
        )
    return shape, tokenizer, tokenizer.vocab_size


def _check_settings(settings: FinetuneSettings, out: Path) -> None:
    """Refuse other settings than those with which the folder was begun, where the training loop
    does not see them.
    """
    if (before := _begun(out)) is None:
        return
    own = dataclasses.asdict(settings)
    decide = [field.name for field in dataclasses.fields(settings) if not field.metadata.get("changeable")]
    if settings.allow_change:
        decide = [name for name in decide if name in OF_THE_MODEL]
    pairs = {
        name: (before["settings"].get(name), own[name])
        for name in decide
        if name not in (*IN_TRAIN_CONFIG, "run", "step")
    }
    if "run" in decide:
        pairs["run"] = _source(before["settings"]), _source(own)
    if changes := {name: f"{name}: {old!r} -> {new!r}" for name, (old, new) in pairs.items() if old != new}:
        fixed = settings.allow_change or changes.keys() & set(OF_THE_MODEL)
        raise UserError(
            f"{out} was fine-tuned with other settings ({'; '.join(changes.values())}). Go on with the old ones by "
            f"--resume {out},{'' if fixed else ' with the new ones by --allow_change,'} or name another folder with "
            "--out."
        )


def _source(settings: Mapping[str, Any]) -> str:
    """Return the run and the checkpoint, as it was named, with which a fine-tuning began: RUN@STEP
    is RUN with `step`.
    """
    reference = run_reference(settings.get("run", ""), settings.get("step", ""))
    return f"{reference.folder.resolve()}@{reference.step}"


def _devices() -> int:
    """Return the processes that `torchrun` or `srun` started for this run."""
    return int({**os.environ, **slurm.torchrun_variables(os.environ)}.get("WORLD_SIZE", "1"))


def _train_config(settings: FinetuneSettings, objective: Finetuning, source: RunReference) -> TrainConfig:
    model, rows = objective.model, objective.rows
    batch_size = objective.batch_size
    steps = max(1, math.ceil(settings.epochs * rows / batch_size))
    epoch = max(1, round(rows / batch_size))
    begins = "" if settings.from_scratch else str(source.folder)
    evaluates = settings.val != ""
    return TrainConfig(
        data=settings.data,
        out=settings.out,
        resume=settings.resume,
        init_from=begins,
        step=(source.step or "newest") if begins and settings.resume in ("auto", "never") else "newest",
        allow_change=settings.allow_change,
        model=model,
        max_steps=steps,
        tokens_per_step=batch_size * model.block_size,
        micro_batch=objective.micro_batch(_devices()),
        optimizer=OptimizerConfig(settings.optimizer),
        learning_rate=settings.rate(model.n_embd),
        schedule=settings.schedule,
        min_lr_ratio=0.0,
        warmup_steps=min(round(settings.warmup_ratio * steps), steps - 1),
        weight_decay=settings.weight_decay,
        grad_clip=settings.grad_clip,
        precision=settings.precision,
        device=settings.device,
        # Batches differ in length, and each length would be compiled anew.
        compile=False,
        parallel=settings.parallel,
        gradient_checkpointing=settings.gradient_checkpointing,
        log_interval=settings.log_interval,
        eval_interval=(settings.eval_interval or epoch) if evaluates else 0,
        save_interval=settings.save_interval or epoch,
        keep_last=settings.keep_last,
        keep_best=evaluates,
        early_stopping=settings.early_stopping if evaluates else 0,
        seed=settings.seed,
        tracker=settings.tracker,
        sample_prompt=objective.train.examples[0].texts[0] if objective.writes_samples else "\n",
    )
