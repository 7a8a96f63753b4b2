"""The command line: one file for each command, with its settings and its `run`. Only commands
print.

Modules:
    command_line       runs the command that the arguments name; the exit code
    commands           the table of commands
    parsing            from arguments to settings
    help_text          what --help shows
    terminal           standard output for generated text, standard error for messages
    terminal_reporter  the display of a training run
    interactive        the conversation of `generate --interactive`
"""

from gpt_research.cli.command_line import main as main
