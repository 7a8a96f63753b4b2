"""The command line: runs the subcommand that the first argument names.

A command's module has its settings class, whose fields are the flags (`base.settings` makes them),
and `run(settings)`. It is imported when the command is called, and imports what needs torch inside
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
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

from gpt_research.base import held_warnings, hints, plugins, slurm, stopping, unix
from gpt_research.base.disk import cannot_write, is_of_the_disk
from gpt_research.base.errors import SharedError, UserError, closest
from gpt_research.cli.commands import COMMANDS, OTHER_WORDS
from gpt_research.cli.parsing import parse_settings
from gpt_research.cli.terminal import lasting_standard_error
from gpt_research.version import __version__

GO_ON = {
    "demo": "Start the same command again: what is done stays.",
    "preprocess": "Start the same command again to go on: what is done stays.",
    "train": "Start the same command again: it goes on from the newest checkpoint, if there is one.",
    "generate": "The same command writes the same text again.",
    "serve": "The server is down.",
    "export": "Nothing was written. Start the same command again.",
    "import": "Nothing was written. Start the same command again.",
    "index": "Start the same command again to go on: what is done stays.",
    "evaluate": "No result was written. Start the same command again.",
}
"""How a user goes on with a command that was stopped; `stopping.GO_ON` holds for the others."""
OF_SEVERAL_PROCESSES = ("train", "verify-resume", "plan")
"""Commands that torchrun or srun may start several times, as the ranks of one run."""
OF_ONE_PROCESS = (
    "demo", "generate", "evaluate", "compare", "export", "import", "replay", "where", "index", "trace", "memorisation",
    "inspect", "ablate", "sweep", "lr-range", "serve",
)  # fmt: skip
"""Commands that torchrun or srun must not start several times, which would write the same files."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, without the program's name; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.formatwarning = _plain_warning
    if arguments and arguments[0] in (*OF_SEVERAL_PROCESSES, *OF_ONE_PROCESS):
        os.environ.update(slurm.torchrun_variables(os.environ))
        held_warnings.hold_back()
    go_on = GO_ON.get(arguments[0], "") if arguments else ""
    with stopping.listening(), lasting_standard_error():
        try:
            with stopping.advising(go_on):
                code = _run(arguments)
                sys.stdout.flush()  # a full disk shows here, and not when Python ends
                _leave_the_others()
            return code
        except stopping.Ended as stopped:
            return stopped.code
        except Exception as error:
            return _ended_by(error, arguments)


def _ended_by(error: Exception, arguments: list[str]) -> int:
    """Say in one line why the command ended, and return its exit code; raise what is our fault."""
    if isinstance(error, OSError):
        file = error.filename2 or error.filename
        if file is None:  # whoever writes a file names it, so this is standard output
            _drop_output()
        if isinstance(error, BrokenPipeError):  # the program that read our output has ended, as `head` does
            return 0
        if is_of_the_disk(error):
            error = cannot_write(file or "Standard output", error)
    has_others = arguments and arguments[0] in (*OF_SEVERAL_PROCESSES, *OF_ONE_PROCESS)
    if has_others and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return _ended_together(error)
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    raise error


def _ended_together(error: Exception) -> int:
    """Do as `_ended_by` on one of several processes, of which one is to speak."""
    from gpt_research.base import ranks  # torch takes a second

    error = ranks.parted(error)
    told = isinstance(error, SharedError) and not stopping.is_first_rank()
    if isinstance(error, ranks.RanksEndedError):
        told = error.told_by_another
    if not isinstance(error, UserError):
        raise error
    if not told:
        print(f"error: {error}", file=sys.stderr, flush=True)
    _leave_the_others()
    return error.code if isinstance(error, ranks.RanksEndedError) else 2


def _leave_the_others() -> None:
    """End in order for the other ranks, if the command has joined any."""
    if (ranks := sys.modules.get("gpt_research.base.ranks")) is not None:
        ranks.leave()


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
    if unix.is_missing():
        raise UserError(unix.REFUSAL)
    name = arguments[0]
    if name not in COMMANDS:
        raise UserError(_no_command(name))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and name in OF_ONE_PROCESS:
        raise UserError(
            f"{name} is the work of one process, but {processes} were started. Start it without torchrun or srun."
        )
    settings = parse(name, arguments[1:]) if COMMANDS[name].settings else arguments[1:]
    if settings is None:  # --help or --print_config has been printed
        return 0
    return int(importlib.import_module(COMMANDS[name].module).run(settings))


def _no_command(name: str) -> str:
    """Return the sentence for a first argument that is no command."""
    if name.startswith("--"):
        return f"The command comes before {name}: {hints.command('train', name)} ... Commands: {', '.join(COMMANDS)}."
    if name.endswith((".yaml", ".yml")):
        return f"The command comes before the settings file: {hints.command('train', '--config', name)}"
    meant = f' Did you mean "{OTHER_WORDS[name]}"?' if name in OTHER_WORDS else closest(name, COMMANDS)
    return f'There is no command "{name}".{meant} Commands: {", ".join(COMMANDS)}.'


def _overview() -> str:
    lines = [f"gpt-research {__version__}: from raw corpora to a GPT you can trust.", "", "Commands:"]
    for name, command in COMMANDS.items():
        lines += textwrap.wrap(command.help, 99, initial_indent=f"  {name:<13} ", subsequent_indent=" " * 16)
    lines += ["", "In this order, for example:"]
    lines += [
        f"  {hints.command(*words.split())}"
        for words in (
            "preprocess mine=FOLDER_OF_TEXTS --out data/mine --tokenizer train --vocab_size 8192",
            "train --config demo --data data/mine --out runs/mine",
            "evaluate runs/mine",
            "generate runs/mine --interactive",
        )
    ]
    lines += ["", f"{hints.command('COMMAND', '--help')} shows every setting of a command, with examples."]
    lines += ["--plugin FILE.py, with any command, runs a file that adds parts of its own (docs/extending.md)."]
    return "\n".join(lines)


def parse(name: str, arguments: list[str]) -> Any:
    """Load the plugins and return the command's settings, or None if the arguments ask for help.

    Raises:
        UserError: as `parse_settings` and `plugins.load` do.
    """
    return parse_settings(name, COMMANDS[name], _load_plugins(arguments))


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
