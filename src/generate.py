"""Continue a prompt: `python src/generate.py --prompt TEXT` does the same as `gpt-research
generate`.
"""

import sys

from gpt_research.cli.main import main
from gpt_research.generation.torch_engine import generate

__all__ = ["generate"]

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
