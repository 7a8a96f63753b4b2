"""The program: `gpt-research`, and `python -m gpt_research`, also under torchrun."""

import sys

from gpt_research.base import stopping, unix, wait_policy


def main(*command: str) -> int:
    """Run the command line of this process, behind the words of `command`; return the exit code."""
    if unix.is_missing():
        print(f"error: {unix.REFUSAL}", file=sys.stderr)
        return 2
    with stopping.listening(until_exit=True):
        wait_policy.choose()
        # Importing this takes a twentieth of a second, in which Ctrl-C must not show a traceback.
        from gpt_research.cli import command_line

        return command_line.main([*command, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
