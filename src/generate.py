"""Continue a prompt: `python src/generate.py --prompt TEXT` does the same as `gpt-research
generate`.
"""

import sys

__all__ = ["generate"]

if __name__ == "__main__":
    from gpt_research.__main__ import main

    sys.exit(main("generate"))

from gpt_research.generation.torch_engine import generate
