"""The command line: one file for each command, with its settings and its `run`. Only commands
print.

Modules:
    commands           the table of commands
    main               runs the command that the arguments name; the exit code
    parsing            from arguments to settings
    help_text          what --help shows
    terminal           standard output for generated text, standard error for messages
    terminal_reporter  the display of a training run
    interactive        the conversation of `generate --interactive`
"""
