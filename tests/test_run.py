"""A run folder is opened once, checked, and refuses a process that lacks its plugins."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
import torch

from gpt_research.base import plugins
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint, checkpoint_path
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import ACTIVATIONS
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run, named_or_newest

SHAPE = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8)
PLUGIN = """import torch

from gpt_research.model.variants import ACTIVATIONS

ACTIVATIONS["toy_square"] = torch.square
"""


def write_run(folder: Path, lineage: dict[str, object], steps: tuple[int, ...] = (3,), **changes: object) -> GPT:
    """Write a run folder of a small model; return the model."""
    tokenizer = Tokenizer.train(["a run folder is opened once " * 20], 270)
    config = GPTConfig(**{**vars(SHAPE), "vocab_size": tokenizer.vocab_size, **changes})  # type: ignore[arg-type]
    model = GPT(config, 1)
    folder.mkdir(parents=True)
    write_yaml(TrainConfig(model=config, tokens_per_step=64), folder / "config.yaml")
    tokenizer.save(folder / "tokenizer.json")
    state = {"lineage": {"tokenizer": tokenizer.fingerprint, **lineage}}
    for step in steps:
        save_checkpoint(folder, Checkpoint(step, model_tensors(model), {}, state), keep_last=9)
    return model


def test_a_run_has_the_model_of_its_newest_whole_checkpoint_and_where_it_came_from(tmp_path: Path) -> None:
    model = write_run(tmp_path / "run", {"data": "abc"}, steps=(3, 5))
    newest = checkpoint_path(tmp_path / "run", 5) / "model.safetensors"
    run = Run.open(tmp_path / "run")
    assert (run.step, run.name, run.lineage["data"]) == (5, "run", "abc")
    assert run.weights_sha256 == hashlib.sha256(newest.read_bytes()).hexdigest()
    assert not run.model.training
    assert run.model.config == run.config.model
    found = model_tensors(run.model)
    assert all(torch.equal(tensor, found[name]) for name, tensor in model_tensors(model).items())
    newest.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="Falling back"):
        assert Run.open(tmp_path / "run").step == 3


def test_a_config_of_0_1_names_no_parts_and_is_gpt2s(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {})
    path = tmp_path / "run" / "config.yaml"
    new = ("norm:", "activation:", "attention:")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.strip().startswith(new)))
    config = Run.open(tmp_path / "run").model.config
    assert (config.norm, config.activation, config.positions) == ("layernorm", "gelu_tanh", "learned")


def test_a_run_of_a_plugin_asks_for_it_and_for_that_very_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "LOADED", {})
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setitem(ACTIVATIONS, "toy_square", torch.square)  # and taken out again at the end
    (tmp_path / "mine.py").write_text(PLUGIN)
    sha256 = file_sha256(tmp_path / "mine.py")
    write_run(tmp_path / "run", {"plugins": {"mine.py": sha256}}, activation="toy_square")
    with pytest.raises(UserError, match=r"made with the plugin mine\.py\. .*--plugin mine\.py"):
        Run.open(tmp_path / "run")
    plugins.load(tmp_path / "mine.py")
    assert Run.open(tmp_path / "run").lineage["plugins"] == {"mine.py": sha256}
    (tmp_path / "mine.py").write_text(PLUGIN + "\n")
    with pytest.raises(UserError, match=r"made with another mine\.py"):
        Run.open(tmp_path / "run")


def test_a_model_without_its_part_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(ACTIVATIONS, "toy_square", torch.square)
        write_run(tmp_path / "run", {}, activation="toy_square")
    with pytest.raises(UserError, match=r'model\.activation is "toy_square", but it must be one of gelu_tanh'):
        Run.open(tmp_path / "run")


def test_without_a_name_the_newest_run_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="No run with a checkpoint under runs"):
        named_or_newest("")
    write_run(tmp_path / "runs" / "one", {})
    assert named_or_newest("").folder == Path("runs/one")
    (tmp_path / "runs" / "one" / "metrics.jsonl").write_text("")
    write_run(tmp_path / "runs" / "imported", {})  # without metrics
    for path, time in (("one/metrics.jsonl", 2e9), ("imported/config.yaml", 1e9)):
        os.utime(tmp_path / "runs" / path, (time, time))
    assert named_or_newest("").folder == Path("runs/one")
    os.utime(tmp_path / "runs/imported/config.yaml", (3e9, 3e9))
    assert named_or_newest("").folder == Path("runs/imported")
    assert named_or_newest("elsewhere").folder == Path("elsewhere")
    with pytest.raises(UserError, match="is not a run folder"):
        Run.open(named_or_newest("elsewhere").folder)
