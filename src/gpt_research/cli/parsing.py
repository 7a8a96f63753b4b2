"""Parses a command's arguments into its settings object.

`base.settings.parser_for` makes the flags from the fields of the settings class. This module adds
positional arguments between flags, switches without a value, repeated flags, and the settings that
`--resume RUN` and `--init_from RUN` take from a run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from gpt_research.base.errors import UserError
from gpt_research.base.settings import field_names, find_config, parse_error, parser_for, to_dict


def parse_settings(
    settings_class: type, command: str, arguments: list[str], positional: str, short: dict[str, str], *, many: bool
) -> Any:
    """Return the settings object of a command's arguments, or None if they asked for help.

    Args:
        positional: the field that is given without a flag, if any.
        short: short flags and what they stand for.
        many: the positional field takes any number of values.

    Raises:
        UserError: a flag or key is unknown, a value has the wrong type or breaks a rule, or there
            is no such file.
    """
    try:
        given, flags = _normalise(arguments, settings_class, short)
        if positional and any(flag.startswith("--config=") for flag in flags):
            # argparse would set a positional argument before it reads the file, or to its default
            # although the file has the key. As a flag it counts if it is given, else the file does.
            taken, given = (given, []) if many else (given[:1], given[1:])
            flags += [f"--{positional}={json.dumps(taken) if many else taken[0]}"] if taken else []
            parser = parser_for(settings_class, f"gpt-research {command}")
        else:
            parser = parser_for(settings_class, f"gpt-research {command}", positional, many=many)
        parser.set_defaults(_settings_of_run(settings_class, flags))
        namespace = parser.instantiate(parser.parse_args([*given, *flags]))
    except SystemExit as done:
        if done.code in (0, None):
            return None
        raise
    except (UserError, OSError):
        raise
    except Exception as error:  # jsonargparse raises many kinds, all of them about the arguments
        raise parse_error(error, settings_class, command) from None
    values = {k: v for k, v in vars(namespace).items() if k in field_names(settings_class, nested=False)}
    if positional:
        values[positional] = values[positional] or ([] if many else "")
    for field in dataclasses.fields(settings_class):
        if field.metadata.get("flag_only") and not any(flag.startswith(f"--{field.name}=") for flag in flags):
            values[field.name] = field.default
    return settings_class(**values)


def _settings_of_run(settings_class: type, arguments: list[str]) -> dict[str, Any]:
    """Return the settings that a run gives, by flag name, which hold unless a flag or file says
    otherwise: all of the run that `resume` names, or the model of the run that `init_from` names.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    if "resume" not in field_names(settings_class):
        return {}
    resume, source = _given("resume", arguments), _given("init_from", arguments)
    if resume not in ("", "auto", "never"):
        from gpt_research.checkpoint.files import find_step
        from gpt_research.run import config_to_go_on
        from gpt_research.settings_history import run_config

        folder, step = Path(resume), _given("step", arguments) or "newest"
        named = step == "best" or step.isdecimal()
        config = config_to_go_on(folder, find_step(folder, step)) if named else run_config(folder)
        return {**_leaves(to_dict(config)), "resume": resume, "out": resume}
    if source:
        from gpt_research.settings_history import run_config

        if not (Path(source) / "config.yaml").is_file():
            raise UserError(
                f"init_from is {source!r}, which is no run folder. Name one that training or gpt-research import wrote."
            )
        # A run that has begun has the model already, and its source may be gone.
        own = Path(_given("out", arguments) or settings_class().out) / "config.yaml"
        model = run_config(own.parent if own.is_file() else Path(source)).model
        # The tokenizer of the data decides the vocabulary.
        return {f"model.{name}": value for name, value in to_dict(model).items() if name != "vocab_size"}
    return {}


def _given(name: str, arguments: list[str]) -> str:
    """Return the value that arguments give a setting, by flag or in a config file, or an empty
    string.
    """
    value = ""
    for argument in arguments:
        flag, _, text = argument.partition("=")
        if flag == f"--{name}":
            value = text
        elif flag == "--config":
            with contextlib.suppress(OSError, ValueError, yaml.YAMLError):  # the parser will say what is wrong
                content = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
                value = str(content.get(name) or value) if isinstance(content, dict) else value
    return value


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by the names of their flags."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict) and name != "weights"
        leaves |= _leaves(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return leaves


def _normalise(arguments: list[str], settings_class: type, short: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return the positional arguments, and the flags in the form that argparse understands."""
    # Every flag becomes `--flag=value`, so a value may begin with a dash. `--compile` becomes
    # `--compile=true`, and the values of a repeated flag become one JSON list.
    kinds = {f"--{name}": kind for name, kind in _leaf_types(settings_class)}
    positional: list[str] = []
    flags: list[str] = []
    lists: dict[str, list[str]] = {}
    rest = [short.get(argument, argument) for argument in arguments]
    while rest:
        argument = rest.pop(0)
        flag, equals, value = argument.partition("=")
        kind = kinds.get(flag)
        if not argument.startswith("--"):
            positional.append(argument)
        elif kind in (bool, bool | None) and not equals:
            # `--compile false` has a value, and in `--compile runs/a` the next argument is
            # positional.
            explicit = bool(rest) and rest[0].lower() in ("true", "false")
            flags.append(f"{flag}={rest.pop(0) if explicit else 'true'}")
        elif kind == list[str] and (equals or rest):
            lists.setdefault(flag, []).append(value if equals else rest.pop(0))
        elif flag == "--config" and (equals or rest):
            flags.append(f"--config={find_config(value if equals else rest.pop(0))}")
        elif equals or not rest or flag in ("--help", "--print_config"):
            flags.append(argument)
        else:
            flags.append(f"{flag}={rest.pop(0)}")
    return positional, [*flags, *(f"{flag}={json.dumps(values)}" for flag, values in lists.items())]


def _leaf_types(settings_class: type, prefix: str = "") -> list[tuple[str, Any]]:
    types: list[tuple[str, Any]] = []
    for name, kind in get_type_hints(settings_class).items():
        nested = hasattr(kind, "__dataclass_fields__")
        types += _leaf_types(kind, f"{prefix}{name}.") if nested else [(prefix + name, kind)]
    return types
