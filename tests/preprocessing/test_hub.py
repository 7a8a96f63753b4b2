"""A corpus of the hub gives the documents of its rows, streamed by `datasets` from a hub on this
machine.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_hub import local_hub


@pytest.mark.slow
def test_a_corpus_of_the_hub_becomes_the_shards_of_its_file(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason='datasets is not installed (pip install -e ".[hub]")')
    (data := tmp_path / "theirs" / "data").mkdir(parents=True)
    rows = [{"text": f"The king takes the sword of number {i}, and the queen a letter. " * 5} for i in range(60)]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = {}
    with local_hub({"datasets/owner/name": data.parent}) as hub:
        for place, address in (("hub", "hub:owner/name"), ("file", str(data))):
            out = tmp_path / place
            done = hub.gpt_research(
                tmp_path / "home", "preprocess", f"mine={address}", "--out", str(out), "--tokenizer", "train",
                "--vocab_size", "300", "--workers", "1",
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            written[place] = sorted(p.read_bytes() for p in out.glob("mine/*.bin"))
        done = hub.gpt_research(tmp_path / "home", "preprocess", "mine=hub:owner/nothing", "--out", str(tmp_path / "n"))
        assert done.returncode == 2
        assert "Cannot open hub:owner/nothing" in done.stderr
    assert written["hub"]
    assert written["hub"] == written["file"]
