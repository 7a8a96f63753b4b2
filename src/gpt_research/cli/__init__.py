"""The command line: one file for each command, with its settings and its `run`. Only commands
print.

Modules:
    main               the table of commands, and the exit code
    parsing            from arguments to settings
    terminal           standard output for generated text, standard error for messages
    terminal_reporter  the display of a training run
    interactive        the conversation of `generate --interactive`
"""
