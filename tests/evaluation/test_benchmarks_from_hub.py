"""A benchmark of the hub gives the scores of its file, fetched by `datasets` from a hub on this
machine.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from local_hub import local_hub


@pytest.mark.slow
def test_lambada_of_the_hub_scores_as_its_file_does_and_a_part_of_it_is_refused(
    runs: tuple[Path, Path], benchmarks: Path, tmp_path: Path
) -> None:
    pytest.importorskip("datasets", reason='datasets is not installed (pip install -e ".[hub]")')
    (data := tmp_path / "theirs" / "data").mkdir(parents=True)
    shutil.copy(benchmarks / "lambada" / "test.jsonl", data / "test.jsonl")
    asked = ("evaluate", str(runs[1]), "--tasks", "lambada", "--limit", "40", "--device", "cpu")
    found = {}
    with local_hub({"datasets/EleutherAI/lambada_openai": data.parent}) as hub:
        for place, more in (("hub", ()), ("file", ("--benchmarks", str(benchmarks)))):
            result = tmp_path / f"{place}.json"
            done = hub.gpt_research(tmp_path / "home", *asked, *more, "--json", str(result))
            assert done.returncode == 0, done.stderr
            found[place] = json.loads(result.read_text())["tasks"]["lambada"]
        assert hub.sent == ["data/test.jsonl"]
        rows = (data / "test.jsonl").read_text().splitlines(keepends=True)
        (data / "test.jsonl").write_text("".join(rows[:5000]))
        done = hub.gpt_research(tmp_path / "another_home", *asked)
        assert done.returncode == 2
        assert "hub:EleutherAI/lambada_openai holds 5,000 rows" in done.stderr
    assert found["hub"]["scores"] == found["file"]["scores"]
