"""The help of a command: its settings by group, each with its text and its default, and examples.

The text of a setting is the docstring of its field, and its name and type are the field's. `GROUPS`
says in which group each stands.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import textwrap
import types
from typing import Any, Literal, Union, get_args, get_origin

from gpt_research.base import hints
from gpt_research.base.setting_names import field_kinds
from gpt_research.base.settings import parser_for
from gpt_research.cli.commands import Command

WIDEST, INDENT = 100, 28
OTHER = "other"
"""The group of a setting that stands in no group; a test holds that there is none."""

GROUPS: dict[str, dict[str, str]] = {
    "TrainConfig": {
        "data": "data out resume step init_from ema weights mix_temperature shuffle_documents",
        "model": "model.n_layer model.n_head model.n_kv_head model.head_size model.n_embd model.n_ff model.block_size "
        "model.vocab_size model.dropout model.bias model.norm model.norm_eps model.activation model.positions "
        "model.rope_theta model.attention model.qk_norm model.value_embeddings model.logit_softcap model.tie_weights "
        "model.initialisation model.parametrization model.mup_base_width",
        "optimizer": "max_steps learning_rate schedule min_lr_ratio decay_ratio decay_shape warmup_steps weight_decay "
        "grad_clip ema_decay optimizer.name optimizer.options beta1 beta2 optimizer.embedding_lr_scale "
        "optimizer.head_lr_scale optimizer.muon_others_lr_scale optimizer.muon_iterations "
        "optimizer.embedding_weight_decay optimizer.head_weight_decay optimizer.vector_weight_decay",
        "batch": "tokens_per_step micro_batch loss_chunk gradient_checkpointing",
        "hardware": "device precision residual_precision compile deterministic parallel gradient_exchange rank_timeout",
        "evaluation and checkpoints": "eval_interval eval_tokens sample_prompt save_interval keep_last keep_every "
        "keep_every_optimizer keep_best best_smoothing early_stopping",
        "logging": "log_interval tracker profile wandb.project wandb.entity wandb.name wandb.group wandb.tags",
        "advanced": "seed allow_change verify_data spike_z skip_spikes",
    },
    "FinetuneSettings": {
        "data": "run data val task columns labels out resume long",
        "what is trained": "layers from_scratch lora lora_alpha lora_matrices lm_weight dropout step",
        "optimizer": "epochs batch_size micro_batch learning_rate schedule warmup_ratio weight_decay grad_clip "
        "optimizer",
        "hardware": "device precision parallel gradient_checkpointing",
        "evaluation and checkpoints": "eval_interval early_stopping save_interval keep_last log_interval tracker",
        "advanced": "seed allow_change",
    },
    "PreprocessConfig": {
        "corpora and output": "corpora out val_fraction seed dry_run",
        "tokenizer": "tokenizer vocab_size",
        "reading": "text_key mail_header keep_personal_data unwrap_paragraphs keep_disambiguation",
        "what is left out": "min_characters near_duplicates filters language language_score benchmarks contamination "
        "strict",
        "hardware": "workers tasks executor slurm_partition slurm_time slurm_options wait",
    },
    "GenerateCommand": {
        "text": "run step ema prompt chat max_new_tokens num_samples stop interactive json",
        "sampling": "temperature top_k top_p min_p repetition_penalty seed",
        "hardware": "device precision weights engine",
    },
    "ServeCommand": {
        "what is served": "runs ema",
        "who may ask": "host port api_key api_key_file allow_host",
        "how many at a time": "max_batch max_queue",
        "hardware": "device precision weights",
    },
    "EvaluateCommand": {
        "what is measured": "run step ema data columns split max_tokens suite tasks benchmarks limit harness audit "
        "memorisation",
        "how": "context stride batch_size device precision",
        "output": "json",
    },
}
"""The groups of a settings class and the names in each, in the order of the help. A class that
extends one of these shows its own settings first."""

PLACES = {
    **dict.fromkeys(("data", "out", "benchmarks"), "DIR"),
    **dict.fromkeys(("run", "runs"), "RUN"),
    **dict.fromkeys(("json", "text", "plot"), "FILE"),
    **dict.fromkeys(("prompt", "query", "sample_prompt", "stop"), "TEXT"),
    **dict.fromkeys(("device", "on"), "DEVICE"),
    "api_key": "KEY",
    "api_key_file": "FILE",
    "host": "ADDRESS",
    "corpora": "NAME=PATH",
    "filters": "NAMES",
    "init_from": "RUN",
    "language": "NAMES",
    "resume": "auto|never|RUN",
    "slurm_options": "FLAGS",
    "slurm_time": "TIME",
    "source": "FOLDER|HUB_NAME|FILE",
    "step": "newest|best|N",
    "tasks": "NAMES",
    "tokenizer": "NAME|FILE",
}
"""What stands for the value of a text setting."""


def show(name: str, command: Command, settings_class: type, preset: Any = None) -> None:
    """Print the help of a command.

    Args:
        preset: settings whose values are shown as the defaults, in place of those of the class.
    """
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns - 1)
    defaults = _defaults(settings_class) | ({} if preset is None else _values(preset))
    print("\n".join(lines(name, command, settings_class, defaults, width)))


def lines(name: str, command: Command, settings_class: type, defaults: dict[str, Any], width: int) -> list[str]:
    """Return the lines of a command's help."""
    texts = {action.dest: action.help for action in parser_for(settings_class)._actions}
    kinds = dict(field_kinds(settings_class))
    argument = _metavar(command.positional, kinds.get(command.positional)) if command.positional else ""
    shown = f" [{argument}{' ...' if command.many else ''}]" if argument else ""
    shown += f" [{_metavar(command.second, kinds[command.second])}]" if command.second else ""
    found = [f"usage: {hints.command(name)}{shown} [--SETTING VALUE ...]", "", *textwrap.wrap(command.help, width)]
    if argument:
        found += ["", *_entry(f"  {argument}", " ".join(texts[command.positional].split()), width)]
    flags = {long: f"{short}, " for short, long in command.short.items()}
    for title, names in groups(settings_class).items():
        entries = [n for n in names if n != command.positional]
        found += ["", f"{title}:"] if entries else []
        for entry in entries:
            dictionary = get_origin(kinds[entry]) is dict
            value = ".NAME X" if dictionary else f" {_metavar(entry, kinds[entry])}"
            left = f"  {flags.get(f'--{entry}', '')}--{entry}{value}".rstrip()
            found += _entry(left, " ".join(texts[entry].split()) + _default(entry, defaults[entry]), width)
    found += ["", "for any command:"]
    for left, text in (
        ("--config FILE", "YAML file with any of these settings, or the name of a preset. Flags win over it."),
        ("--print_config", "Print all settings as YAML, as the other flags make them, and do nothing else."),
        ("--plugin FILE.py", "Run a file that adds parts of your own (docs/extending.md)."),
    ):
        found += _entry(f"  {left}", text, width)
    if command.examples:
        found += ["", "examples:", *(f"  {hints.command(*shlex.split(example))}" for example in command.examples)]
    return [*found, "", f"More: {command.page}"]


def groups(settings_class: type) -> dict[str, list[str]]:
    """Return the settings of a class by the title of their group."""
    names = [name for name, _ in field_kinds(settings_class)]
    base = next((c for c in settings_class.__mro__ if c.__name__ in GROUPS), None)
    if base is None:
        return {"settings": names}
    inherited = {name for name, _ in field_kinds(base)}
    table = {title: members.split() for title, members in GROUPS[base.__name__].items()}
    changed = set(vars(settings_class).get("__annotations__", {})) if settings_class is not base else set()
    own = [name for name in names if name not in inherited or name in changed]
    placed = {name for members in table.values() for name in members}
    return {
        **({"settings of this command": own} if own else {}),
        **{title: [name for name in members if name in names and name not in own] for title, members in table.items()},
        **({OTHER: rest} if (rest := [name for name in names if name not in placed and name not in own]) else {}),
    }


def _entry(left: str, text: str, width: int) -> list[str]:
    """Return a name and its text, side by side if the name is short."""
    wrapped = textwrap.wrap(text, width - INDENT, break_long_words=False, break_on_hyphens=False) or [""]
    if len(left) + 2 <= INDENT:
        wrapped, first = wrapped[1:], [f"{left:<{INDENT}}{wrapped[0]}"]
    else:
        first = [left]
    return first + [" " * INDENT + line for line in wrapped]


def _metavar(name: str, kind: Any) -> str:
    """Return what stands for a value in the help; nothing for a switch."""
    shown = []
    for part in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,):
        if get_origin(part) is Literal:
            shown += [str(choice) for choice in get_args(part)]
        elif part not in (bool, type(None)):
            shown.append({int: "N", float: "X"}.get(part) or PLACES.get(name, "NAME"))
    return "|".join(dict.fromkeys(shown))


def _defaults(settings_class: type) -> dict[str, Any]:
    """Return the default of each setting, by its full name."""
    defaults: dict[str, Any] = {}
    for field in dataclasses.fields(settings_class):
        factory = field.default_factory
        defaults |= _flat(field.name, field.default if factory is dataclasses.MISSING else factory())
    return defaults


def _values(settings: Any) -> dict[str, Any]:
    """Return the value of each setting, by its full name."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        values |= _flat(field.name, getattr(settings, field.name))
    return values


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value):
        return {name: value}
    return {f"{name}.{inner}": of for inner, of in _values(value).items()}


def _default(name: str, value: Any) -> str:
    """Return a default in words; nothing where it is "off" or "none"."""
    if value is True:
        return f" (on; --{name} false turns it off)"
    if value is False or value in (None, "", [], {}):
        return ""
    if isinstance(value, str) and not value.isprintable():
        value = repr(value)
    return f" (default: {value})"
