"""Names of the hub bring what lies there, by the libraries themselves, from a hub on this
machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from local_hub import local_hub

from gpt_research.checkpoint.weights import model_tensors
from gpt_research.export import hf as huggingface
from gpt_research.model.gpt import GPT
from gpt_research.run import Run, load_model

MakeRun = Callable[..., tuple[Path, GPT]]


@pytest.mark.slow
def test_a_model_of_the_hub_is_imported_bit_by_bit_and_its_pickle_stays_there(
    make_run: MakeRun, tmp_path: Path
) -> None:
    folder, model = make_run()
    (theirs := tmp_path / "theirs").mkdir()
    huggingface.write(theirs, Run.open(folder), "f32")
    (theirs / "pytorch_model.bin").write_bytes(b"a pickle")
    with local_hub({"models/owner/name": theirs}) as hub:
        done = hub.gpt_research(tmp_path / "home", "import", "owner/name", "--out", str(tmp_path / "imported"))
        assert done.returncode == 0, done.stderr
        assert "model.safetensors" in hub.sent
        assert "pytorch_model.bin" not in hub.sent
    back = model_tensors(load_model(tmp_path / "imported")[0])
    assert all(torch.equal(tensor, back[name]) for name, tensor in model_tensors(model).items())


@pytest.mark.slow
def test_a_model_of_the_hub_that_is_only_a_pickle_or_not_there_is_one_sentence(
    make_run: MakeRun, tmp_path: Path
) -> None:
    (theirs := tmp_path / "theirs").mkdir()
    huggingface.write(theirs, Run.open(make_run()[0]), "f32")
    (theirs / "model.safetensors").rename(theirs / "pytorch_model.bin")
    with local_hub({"models/owner/pickled": theirs}) as hub:
        for name, reason in (("owner/pickled", "no model.safetensors"), ("owner/nothing", "could not be fetched")):
            done = hub.gpt_research(tmp_path / "home", "import", name, "--out", str(tmp_path / "imported"))
            assert done.returncode == 2
            *progress, said = done.stderr.strip().splitlines()
            assert said.startswith("error: ")
            assert reason in said
            assert all(line.startswith("Fetching") for line in progress if line)
        assert "pytorch_model.bin" not in hub.sent
    assert not (tmp_path / "imported").exists()
