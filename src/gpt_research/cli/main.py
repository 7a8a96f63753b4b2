"""The command line: `COMMANDS` names the module and the settings class of each subcommand.

A command's module has its settings class, whose fields are the flags (`base.settings` makes them),
and
`run(settings)`. It is imported when the command is called, and imports what needs torch inside
`run`, so that `--help` answers at once.

`main(argv)` returns the exit code: 0 done; 1 a check found damage or a difference; 2 the user's
mistake (one sentence, no traceback); 3 done, with damaged input set aside; 128 + n stopped by
signal n.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gpt_research.base import plugins, stopping
from gpt_research.base.disk import cannot_write, is_of_the_disk
from gpt_research.base.errors import UserError, closest
from gpt_research.cli.parsing import parse_settings
from gpt_research.cli.terminal import lasting_standard_error
from gpt_research.version import __version__


@dataclass(frozen=True)
class Command:
    """A subcommand."""

    module: str
    """The module with the settings class and `run`."""
    settings: str
    """Name of the settings class; empty for a command that hands its arguments on to others."""
    help: str
    positional: str = ""
    """The field that is given without a flag."""
    many: bool = False
    """The positional field takes any number of values."""
    short: dict[str, str] = field(default_factory=dict)
    """Short flags and what they stand for."""


COMMANDS = {
    "demo": Command("gpt_research.cli.demo", "", "Take a small corpus the whole way, in minutes."),
    "preprocess": Command(
        "gpt_research.cli.preprocess", "PreprocessConfig", "Turn corpora into token shards.", "corpora", many=True
    ),
    "doctor": Command("gpt_research.cli.doctor", "DoctorCommand", "Say what this machine has for training."),
    "plan": Command("gpt_research.cli.plan", "PlanCommand", "Say what a run will take, measured on this machine."),
    "train": Command("gpt_research.cli.train", "TrainConfig", "Train a model on token shards."),
    "generate": Command(
        "gpt_research.cli.generate",
        "GenerateCommand",
        "Continue a prompt with a run.",
        "run",
        short={"-i": "--interactive"},
    ),
    "verify-resume": Command(
        "gpt_research.cli.verify_resume", "VerifyResumeCommand", "Prove that a resumed run is the run."
    ),
    "replay": Command("gpt_research.cli.replay", "ReplayCommand", "Run one step again and look inside.", "run"),
    "inspect": Command("gpt_research.cli.inspect", "InspectCommand", "Show what a run folder holds.", "run"),
    "export": Command("gpt_research.cli.export", "ExportCommand", "Write a run in another format.", "run"),
    "import": Command("gpt_research.cli.import_", "ImportCommand", "Make a run of foreign weights.", "source"),
    "where": Command("gpt_research.cli.where", "WhereCommand", "Say where a token came from.", "data"),
    "evaluate": Command("gpt_research.cli.evaluate", "EvaluateCommand", "Measure loss and benchmarks.", "run"),
    "compare": Command(
        "gpt_research.cli.compare", "CompareCommand", "Set two evaluations side by side.", "runs", many=True
    ),
}

GO_ON = {
    "demo": "Start the same command again: what is done stays.",
    "preprocess": "Start the same command again to go on: what is done stays.",
    "train": "Start the same command again: it goes on from the newest checkpoint, if there is one.",
    "generate": "The same command writes the same text again.",
    "export": "Nothing was written. Start the same command again.",
    "import": "Nothing was written. Start the same command again.",
    "evaluate": "No result was written. Start the same command again.",
}
"""How a user goes on with a command that was stopped; `stopping.GO_ON` holds for the others."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, without the program's name; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.formatwarning = _plain_warning
    go_on = GO_ON.get(arguments[0], "") if arguments else ""
    with stopping.listening(), lasting_standard_error():
        try:
            with stopping.advising(go_on):
                code = _run(arguments)
                sys.stdout.flush()  # a full disk shows here, and not when Python ends
            return code
        except stopping.Ended as stopped:
            return stopped.code
        except Exception as error:
            return _ended_by(error)


def _ended_by(error: Exception) -> int:
    """Say in one line why the command ended, and return its exit code; raise what is our fault."""
    if isinstance(error, OSError):
        file = error.filename2 or error.filename
        if file is None:  # whoever writes a file names it, so this is standard output
            _drop_output()
        if isinstance(error, BrokenPipeError):  # the program that read our output has ended, as `head` does
            return 0
        if is_of_the_disk(error):
            error = cannot_write(file or "Standard output", error)
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    raise error


def _drop_output() -> None:
    """Forget what standard output does not take; else Python complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning as a sentence for the user, without file and line."""
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
    settings = parse(name, arguments[1:]) if COMMANDS[name].settings else arguments[1:]
    if settings is None:  # --help or --print_config has been printed
        return 0
    return int(importlib.import_module(COMMANDS[name].module).run(settings))


def _overview() -> str:
    lines = [f"gpt-research {__version__}: from raw corpora to a GPT one can trust.", "", "Commands:"]
    lines += [f"  {name:<13} {command.help}" for name, command in COMMANDS.items()]
    lines += ["", "gpt-research COMMAND --help shows every setting of a command."]
    lines += ["--plugin FILE.py, with any command, runs a file that adds parts of its own (docs/extending.md)."]
    return "\n".join(lines)


def parse(name: str, arguments: list[str]) -> Any:
    """Load the plugins and return the command's settings, or None if the arguments ask for help.

    Raises:
        UserError: as `parse_settings` and `plugins.load` do.
    """
    command = COMMANDS[name]
    arguments = _load_plugins(arguments)
    settings_class = getattr(importlib.import_module(command.module), command.settings)
    return parse_settings(settings_class, name, arguments, command.positional, command.short, many=command.many)


def _load_plugins(arguments: list[str]) -> list[str]:
    """Run every plugin that `--plugin FILE.py` names; return the other arguments."""
    others: list[str] = []
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag != "--plugin":
            others.append(flag + equals + value)
        elif equals or rest:
            plugins.load(value if equals else rest.pop(0))
        else:
            raise UserError("--plugin needs the path of a Python file.")
    return others
