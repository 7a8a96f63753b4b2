"""`python -m gpt_research`, also under torchrun."""

import sys

from gpt_research.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
