"""The command line: one subcommand per stage, its flags made from the stage's config class.

`main(argv)` returns the exit code: 0 done, 2 the user's mistake (one sentence, no traceback), 3 done with damaged input
set aside, 128 + n stopped by signal n. A stage's code is imported only when its command is called.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from gpt_research import commands, config
from gpt_research.base.errors import UserError, closest
from gpt_research.base.settings import field_names, parse_error, parser_for
from gpt_research.version import __version__


@dataclass(frozen=True)
class Command:
    """A subcommand: its config class, the module whose `run(config)` does it, its positional and its short flags."""

    config: str
    module: str
    help: str
    positional: str = ""
    many: bool = False
    short: dict[str, str] = field(default_factory=dict)


COMMANDS = {
    "preprocess": Command(
        "PreprocessConfig",
        "gpt_research.cli.preprocess",
        "Turn corpora into token shards.",
        "corpora",
        many=True,
    ),
    "doctor": Command("DoctorCommand", "gpt_research.estimate.doctor", "Say what this machine has for training."),
    "plan": Command("PlanCommand", "gpt_research.estimate.plan", "Say what a run will take, measured on this machine."),
    "train": Command("TrainConfig", "gpt_research.cli.train", "Train a model on token shards."),
    "generate": Command(
        "GenerateCommand",
        "gpt_research.cli.generate_engine",
        "Continue a prompt with a run.",
        "run",
        short={"-i": "--interactive"},
    ),
    "verify-resume": Command(
        "VerifyResumeCommand", "gpt_research.training.verify_resume", "Prove that a resumed run is the run."
    ),
    "replay": Command("ReplayCommand", "gpt_research.training.replay", "Run one step again and look inside.", "run"),
    "inspect": Command("InspectCommand", "gpt_research.cli.inspect", "Show what a run folder holds.", "run"),
    "export": Command("ExportCommand", "gpt_research.cli.export", "Write a run in another format.", "run"),
    "import": Command("ImportCommand", "gpt_research.cli.import_", "Make a run of foreign weights.", "source"),
    "where": Command("WhereCommand", "gpt_research.cli.where", "Say where a token came from.", "data"),
    "evaluate": Command("EvaluateCommand", "gpt_research.cli.evaluate", "Measure loss and benchmarks.", "run"),
    "compare": Command(
        "CompareCommand", "gpt_research.cli.compare", "Set two evaluations side by side.", "runs", many=True
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, without the program's name; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.formatwarning = _plain_warning
    try:
        return _run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stderr.close()
        return 0


def _plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as a sentence for the user, without the place in our code."""
    return f"warning: {message}\n"


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"gpt-research {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        raise UserError(f'There is no command "{name}".{closest(name, COMMANDS)} Commands: {", ".join(COMMANDS)}.')
    settings = parse(name, arguments[1:])
    if settings is None:  # --help or --print_config answered
        return 0
    return int(importlib.import_module(COMMANDS[name].module).run(settings))


def _overview() -> str:
    lines = [f"gpt-research {__version__}: from raw corpora to a GPT one can trust.", "", "Commands:"]
    lines += [f"  {name:<13} {command.help}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "gpt-research COMMAND --help shows every setting of a command."])


def parse(name: str, arguments: list[str]) -> Any:
    """Return the config object of a command's arguments, or None where they asked for help.

    Raises:
        UserError: an unknown flag or key (with the closest known one), a wrong type, a broken rule, no such file.
    """
    command = COMMANDS[name]
    config_class = getattr(commands, command.config, None) or getattr(config, command.config, None)
    config_class = config_class or getattr(importlib.import_module(command.module), command.config)
    parser = parser_for(config_class, f"gpt-research {name}", command.positional, many=command.many)
    if "resume" in field_names(config_class):
        arguments = _resume_arguments(arguments)
    try:
        namespace = parser.instantiate(parser.parse_args(_spell_out(arguments, config_class, command.short)))
    except SystemExit as done:
        if done.code in (0, None):
            return None
        raise
    except UserError:
        raise
    except Exception as error:  # jsonargparse raises many kinds, all of them about the arguments
        raise parse_error(error, config_class, name) from None
    fields = {k: v for k, v in vars(namespace).items() if k in field_names(config_class, nested=False)}
    if command.positional and not command.many:
        fields[command.positional] = fields[command.positional] or ""
    return config_class(**fields)


def _resume_arguments(arguments: list[str]) -> list[str]:
    """`--resume RUN_DIR` means that run's own config, in its own folder; flags given beside it still count."""
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


def _spell_out(arguments: list[str], config_class: type, short: dict[str, str]) -> list[str]:
    """Write arguments as argparse wants them: positional ones first, then `--flag=value`.

    So `--compile` may stand for `--compile true`, a list's flag may be given again and again, and positional
    arguments may stand between flags.
    """
    kinds = {f"--{name}": kind for name, kind in _leaf_types(config_class)}
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
            explicit = bool(rest) and rest[0].lower() in ("true", "false")
            flags.append(f"{flag}={rest.pop(0) if explicit else 'true'}")
        elif kind == list[str] and (equals or rest):
            lists.setdefault(flag, []).append(value if equals else rest.pop(0))
        elif equals or not rest or flag in ("--help", "--print_config"):
            flags.append(argument)
        else:
            flags.append(f"{flag}={rest.pop(0)}")
    return [*positional, *flags, *(f"{flag}={json.dumps(values)}" for flag, values in lists.items())]


def _leaf_types(config_class: type, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, kind in get_type_hints(config_class).items():
        nested = hasattr(kind, "__dataclass_fields__")
        found += _leaf_types(kind, f"{prefix}{name}.") if nested else [(prefix + name, kind)]
    return found
