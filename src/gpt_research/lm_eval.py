"""`python -m gpt_research.lm_eval`: lm-eval's own command, to which our models are known.

    python -m gpt_research.lm_eval --model gpt-research --model_args run=runs/demo --tasks piqa

Everything but the model is lm-eval's: tasks, prompts, metrics, flags. `--model_args` also takes
step, device, precision and batch_size.
"""

from __future__ import annotations

import sys

from gpt_research.base import wait_policy
from gpt_research.base.errors import UserError


def main() -> int:
    """Run lm-eval's command; return the exit code."""
    wait_policy.choose()  # before torch is loaded
    try:
        # It says in words if lm-eval, which is optional, is not installed.
        from gpt_research.evaluation.harness import run_command

        run_command()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
