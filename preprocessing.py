"""Turn corpora into token shards: `python preprocessing.py --help` shows every setting.

The same as `gpt-research preprocess`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from gpt_research.__main__ import main

if __name__ == "__main__":
    sys.exit(main("preprocess"))
