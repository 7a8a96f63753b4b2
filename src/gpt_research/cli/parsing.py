"""Parses a command's arguments into its settings object.

`base.settings.parser_for` makes the flags from the fields of the settings class. This module adds
arguments without a flag, switches without a value, repeated flags, `--print_config`, and what
`--resume RUN` and `--init_from RUN` take from a run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.setting_names import field_kinds, field_names, unknown
from gpt_research.base.settings import find_config, parse_error, parser_for, place, read_values
from gpt_research.cli import help_text
from gpt_research.cli.commands import Command
from gpt_research.cli.settings_of_run import checkpoint_of_run, settings_of_run
from gpt_research.run_reference import run_reference

TEXTS = {"--help": "help", "-h": "help", "--print_config": "print_config"}
"""Flags that ask for a text instead of the command."""


@dataclasses.dataclass
class Arguments:
    """The arguments of a command, sorted by kind."""

    bare: list[str] = dataclasses.field(default_factory=list)
    """Those without a flag."""
    files: list[Path] = dataclasses.field(default_factory=list)
    """The settings files."""
    flags: list[str] = dataclasses.field(default_factory=list)
    """The others, each as `--name=value`."""
    text: str = ""
    """The text that they ask for: `help`, `print_config`, or none."""


def parse_settings(name: str, command: Command, arguments: list[str]) -> Any:
    """Return the settings object of a command's arguments, or None if they asked for help or for
    the settings, which are printed.

    Raises:
        UserError: a flag or key is unknown, a value has the wrong type or breaks a rule, or there
            is no such file.
    """
    settings_class = command.settings_class()
    sorted_ = _sort(arguments, settings_class, command.short)
    if sorted_.text == "help":
        help_text.show(name, command, settings_class)
        return None
    flags = _with_bare(sorted_, name, command, field_names(settings_class))
    lines: dict[str, tuple[Path, dict[str, int]]] = {}
    given: dict[str, Any] = {}
    for path in sorted_.files:
        values, found = read_values(path, settings_class)
        lines |= dict.fromkeys(found, (path, found))
        given |= {key: values.get(key) for key in found}
    given |= {flag.removeprefix("--"): value for flag, _, value in (flag.partition("=") for flag in flags)}
    if "resume" in field_names(settings_class):
        replaced = checkpoint_of_run(given)
        given |= replaced
        flags = [*flags, *(f"--{key}={value}" for key, value in replaced.items())]
    # The files come first wherever they stand, so that a flag wins over them.
    flags = [*(f"--config={path}" for path in sorted_.files), *flags]
    parser = parser_for(settings_class)
    try:
        parser.set_defaults(settings_of_run(settings_class, given))
        values = parser.parse_args(flags)
        if command.many and sorted_.bare:
            # The parser would read these texts as YAML, which has no bytes that are not UTF-8.
            values[command.positional] = sorted_.bare
    except UserError:
        raise
    except Exception as error:  # jsonargparse raises many kinds, all of them about the arguments
        raise UserError(f"{name}: {parse_error(error, settings_class)}") from None
    if sorted_.text == "print_config":
        plain = _in_order(values.as_dict(), settings_class)
        print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), end="")
        return None
    try:
        values.pop("config")
        settings = vars(parser.instantiate(values))
        for field in dataclasses.fields(settings_class):
            if field.metadata.get("flag_only") and not any(flag.startswith(f"--{field.name}=") for flag in flags):
                settings[field.name] = field.default
        return settings_class(**settings)
    except UserError as error:
        # If a value of a file breaks a rule, the message names its line.
        key = str(error).partition(" ")[0]
        if key not in lines or any(flag.startswith(f"--{key}=") for flag in flags):
            raise
        raise UserError(f"{place(str(error), *lines[key])}: {error}") from None


def _sort(arguments: Sequence[str], settings_class: type, short: dict[str, str]) -> Arguments:
    """Sort arguments by kind, and give every flag the form `--flag=value`."""
    # So a value may begin with a dash. `--compile` becomes `--compile=true`, and the values of a
    # repeated flag become one JSON list.
    kinds = {f"--{name}": kind for name, kind in field_kinds(settings_class)}
    found = Arguments()
    lists: dict[str, list[str]] = {}
    rest = [short.get(argument, argument) for argument in arguments]
    while rest:
        argument = rest.pop(0)
        flag, equals, value = argument.partition("=")
        kind = kinds.get(flag)
        if argument in TEXTS:
            found.text = found.text or TEXTS[argument]
        elif len(argument) > 1 and argument[0] == "-" and argument[1] != "-":
            raise UserError(unknown(argument, field_names(settings_class)))
        elif not argument.startswith("--"):
            found.bare.append(argument)
        elif kind in (bool, bool | None) and not equals:
            # `--compile false` has a value, and in `--compile runs/a` the next argument has no
            # flag.
            explicit = bool(rest) and rest[0].lower() in ("true", "false")
            found.flags.append(f"{flag}={rest.pop(0) if explicit else 'true'}")
        elif kind == list[str] and (equals or rest):
            lists.setdefault(flag, []).append(value if equals else rest.pop(0))
        elif flag == "--config" and (equals or rest):
            found.files.append(find_config(value if equals else rest.pop(0)))
        elif equals or not rest:
            found.flags.append(argument)
        else:
            found.flags.append(f"{flag}={rest.pop(0)}")
    found.flags += [f"{flag}={json.dumps(values)}" for flag, values in lists.items()]
    return found


def _with_bare(arguments: Arguments, name: str, command: Command, known: list[str]) -> list[str]:
    """Return the flags, with a flag for what was given without one.

    Raises:
        UserError: an argument without a flag has no place.
    """
    bare = arguments.bare
    if not bare:
        return arguments.flags
    # A settings file is never what these commands take without a flag; the others may take files.
    files = [
        argument for argument in bare if command.positional not in ("runs", "source", "base") and _is_config(argument)
    ]
    if command.second:
        files = files[:1] if bare[0] in files else []  # any word may be a text
    if command.many and not files:
        return arguments.flags  # `parse_settings` sets them
    fields = [field for field in (command.positional, command.second) if field]
    # A text is no run folder.
    is_text = command.positional == "run" and " " in bare[0] and not Path(bare[0]).exists()
    if is_text and command.second:
        fields = [command.second]
    stray = files or (bare if is_text and not command.second else bare[len(fields) :])
    if stray:
        fitting = [argument for argument in bare if argument not in stray]
        raise UserError(f"{name}: {_stray(stray[0], name, fitting, known)}")
    return [*(f"--{field}={value}" for field, value in zip(fields, bare, strict=False)), *arguments.flags]


def _stray(argument: str, name: str, fitting: list[str], known: list[str]) -> str:
    """Return the sentence for an argument that lacks its flag, beside those that need none."""
    path = run_reference(argument).folder
    flag = ""
    if _is_config(argument):
        flag = "config"
    elif (path / "config.yaml").is_file():
        flag = "resume" if "resume" in known else "run"
    elif (path / "dataset.json").is_file() or (path / "train.bin").is_file():
        flag = "data"
    elif "prompt" in known:
        flag = "prompt"
    elif argument.isdecimal():
        flag = "step"
    elif "out" in known and "run" in known + ["source"]:
        flag = "out"
    if flag in known or flag == "config":
        return f'"{argument}" lacks its flag. Give it as: {hints.command(name, *fitting, f"--{flag}", argument)}'
    return f'"{argument}" has no place here. What may be given: {hints.command(name, "--help")}'


def _is_config(argument: str) -> bool:
    """Return whether an argument names a settings file or a preset, and nothing else that is
    there.
    """
    if "=" in argument or Path(argument).is_dir():
        return False
    try:
        return find_config(argument).suffix in (".yaml", ".yml")
    except UserError:
        return argument.endswith((".yaml", ".yml"))


def _in_order(values: dict[str, Any], settings_class: type) -> dict[str, Any]:
    """Return values as nested dictionaries, in the order of the fields of their class."""
    return {
        name: _in_order(values[name], kind) if dataclasses.is_dataclass(kind) else values[name]  # type: ignore[arg-type]
        for name, kind in get_type_hints(settings_class).items()
    }
