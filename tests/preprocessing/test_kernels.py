"""Claims about the compiled loops."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
from gpt_research.preprocessing.text.words import hash_words
print(len(hash_words(["two words", "and three more"]).hashes))
"""


@pytest.mark.slow
def test_they_work_where_no_folder_can_keep_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", CODE], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == "5\n", run.stderr
