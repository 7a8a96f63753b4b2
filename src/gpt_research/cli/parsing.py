"""Parses a command's arguments into its settings object.

`base.settings.parser_for` makes the flags from the fields of the settings class. This module adds
positional arguments between flags, switches without a value, repeated flags and `--resume RUN`.
"""

from __future__ import annotations

import json
from typing import Any, get_type_hints

from gpt_research.base.errors import UserError
from gpt_research.base.settings import field_names, find_config, parse_error, parser_for


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
    if "resume" in field_names(settings_class):
        arguments = _resume_arguments(arguments)
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
    return settings_class(**values)


def _resume_arguments(arguments: list[str]) -> list[str]:
    """Replace `--resume RUN` by the config and the folder of that run; other flags still count."""
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag != "--resume":
            continue
        run = value if equals else "".join(arguments[index + 1 : index + 2])
        if run in ("auto", "never", ""):
            return arguments
        rest = arguments[:index] + arguments[index + (1 if equals else 2) :]
        return ["--config", f"{run}/config.yaml", "--out", run, *rest]
    return arguments


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
