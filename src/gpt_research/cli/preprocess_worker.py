"""A worker of a Slurm job: `python -m gpt_research.cli.preprocess_worker WORK_FOLDER`.

`preprocess --executor slurm` writes this command into the script of its jobs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gpt_research.base import wait_policy
from gpt_research.base.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Be a worker; return the exit code."""
    wait_policy.choose_for_worker()
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args(argv)
    # A cluster ends a worker with SIGTERM. An exception frees its claim on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    from gpt_research.preprocessing.cluster.worker import work_on
    from gpt_research.preprocessing.pipeline import stages_of
    from gpt_research.preprocessing.work_folder import WorkFolder

    work = WorkFolder(arguments.folder)
    try:
        work_on(stages_of(work, work.load_plan(), arguments.strict), work.folder / "logs", arguments.number)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError:
        # The command that started the workers removes the work folder at the end, and a worker may
        # begin after that.
        if arguments.folder.exists():
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
