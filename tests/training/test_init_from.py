"""A new run begins with the weights of another run or of an import, which stays as it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint, load_newest, load_step, saved_steps
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.cli.command_line import main, parse
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics
from gpt_research.training.replay import replay

SHAPE = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=32)
SMALL = [
    "--max_steps", "4", "--tokens_per_step", "256", "--micro_batch", "4", "--warmup_steps", "0", "--device", "cpu",
    "--precision", "fp32", "--log_interval", "1", "--eval_interval", "0", "--eval_tokens", "64", "--save_interval", "2",
    "--keep_last", "1",
]  # fmt: skip


@pytest.fixture
def imported(dataset_folder: Path, tmp_path: Path) -> Path:
    """What an import writes: weights at step 0, and default settings."""
    tokenizer = Tokenizer.load(dataset_folder / "tokenizer.json")
    model = GPT(dataclasses.replace(SHAPE, vocab_size=tokenizer.vocab_size), 5)
    folder = tmp_path / "imported"
    folder.mkdir()
    write_yaml(TrainConfig(out=str(folder), model=model.config), folder / "config.yaml")
    tokenizer.save(folder / "tokenizer.json")
    state = {"tokenizer": tokenizer.fingerprint, "imported_from": "someone/model"}
    save_checkpoint(folder, Checkpoint(0, model_tensors(model), {}, state), keep_last=1)
    return folder


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def first_loss(run: Path) -> float:
    return next(m["loss"] for m in read_metrics(run) if "loss" in m)


def test_a_run_begins_with_the_weights_of_an_import_at_a_shorter_context_and_with_dropout(
    imported: Path, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = files_of(imported), tmp_path / "tuned"
    changes = ["--model.dropout", "0.1", "--model.block_size", "16", "--learning_rate", "1e-4"]
    command = [
        "train",
        "--init_from",
        str(imported),
        "--out",
        str(out),
        "--data",
        str(dataset_folder),
        *SMALL,
        *changes,
    ]
    assert main(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"Weights: those of {imported} at step 0 (imported from someone/model), with the first 16 of its 32" in said
    assert files_of(imported) == before
    assert saved_steps(out) == [0, 4]  # keep_last is 1, but nothing else has the weights of step 0
    start, source = load_step(out, "0"), load_newest(imported)
    assert start is not None
    assert source is not None
    for name, tensor in source.model.items():
        wanted = tensor[:16] if name == "position_embedding.weight" else tensor
        assert torch.equal(start.model[name], wanted), name
    run = Run.open(out)
    origin = run.lineage["init_from"]
    assert (origin["run"], origin["step"], origin["weights_sha256"]) == (str(imported), 0, source.weights_sha256)
    assert origin["lineage"]["imported_from"] == "someone/model"
    assert (run.model.config.dropout, run.model.config.block_size) == (0.1, 16)
    assert replay(out, 1, device="cpu").loss == first_loss(out)
    assert main(command) == 0  # the same command goes on, and here there is nothing left to do
    assert "has all its 4 steps already" in capsys.readouterr().err
    shutil.rmtree(imported)  # the run has all that it needs
    assert main(["train", "--resume", str(out), "--max_steps", "5", "--allow_change"]) == 0
    assert Run.open(out).lineage["init_from"] == origin
    capsys.readouterr()
    assert main(["inspect", str(out)]) == 0
    said = capsys.readouterr().out
    digest = source.weights_sha256[:12]
    assert f"began with step 0 of {imported} (weights {digest}), its context of 32 cut to 16, which had:" in said
    assert "\n    imported_from someone/model\n" in said
    assert not re.search(r"^ +(run|step|context|lineage|weights_sha256|init_from)\b", said, flags=re.M), "raw fields"


def test_a_run_begins_with_a_named_checkpoint_of_another_run(tiny_run: TrainConfig, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny_run, max_steps=8, eval_interval=0))
    new = dataclasses.replace(
        tiny_run, init_from=tiny_run.out, step="4", out=str(tmp_path / "new"), max_steps=1, seed=9
    )
    train(new)
    ours, theirs = load_step(Path(new.out), "0"), load_step(Path(tiny_run.out), "4")
    assert ours is not None
    assert theirs is not None
    assert not ours.optimizer
    assert all(torch.equal(ours.model[name], tensor) for name, tensor in theirs.model.items())


def test_an_import_is_trained_on_in_place_and_its_weights_stay(
    imported: Path, dataset_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(imported / "checkpoints" / "step_00000000")
    arguments = ["--data", str(dataset_folder), *SMALL, "--model.dropout", "0.1"]
    assert main(["train", "--resume", str(imported), *arguments]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "is an import of someone/model: its weights stay there as step 0" in said
    assert f"--init_from {imported} --out OTHER" in said
    assert saved_steps(imported) == [0, 4]
    assert files_of(imported / "checkpoints" / "step_00000000") == before
    assert Run.open(imported).lineage["imported_from"] == "someone/model"
    assert replay(imported, 1, device="cpu").loss == first_loss(imported)
    shutil.rmtree(imported / "checkpoints" / "step_00000000")
    assert main(["replay", str(imported), "--step", "1", "--device", "cpu"]) == 2
    assert "began with the weights of someone/model, and its checkpoint of step 0 is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model.n_layer", "2"], "model.n_layer is 2, but there 1. Leave these settings out"),
        (["--model.block_size", "64"], "model.block_size is 64, but there 32"),
        (["--init_from", "nowhere"], "init_from is 'nowhere', which is no run folder"),
        (["--out", "imported"], "init_from and out are both imported"),
        (["--step", "7"], "imported has no checkpoint of step 7. It has those of the steps 0."),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_a_step(
    imported: Path,
    dataset_folder: Path,
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(imported.parent)
    before = files_of(imported)
    command = ["train", "--init_from", "imported", "--out", "new", "--data", str(dataset_folder), *SMALL, *arguments]
    assert main(command) == 2
    assert says in capsys.readouterr().err
    assert {name: files_of(imported).get(name) for name in before} == before
    assert not Path("new/checkpoints").exists()


def test_weights_of_another_tokenizer_are_refused_although_the_sizes_agree(
    imported: Path, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = imported / "checkpoints" / "step_00000000" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "tokenizer": "another"}))
    for way in (["--resume", str(imported)], ["--init_from", str(imported), "--out", str(tmp_path / "new")]):
        assert main(["train", *way, "--data", str(dataset_folder), *SMALL]) == 2
        assert "another tokenizer" in capsys.readouterr().err


def test_a_run_that_began_otherwise_is_never_begun_anew(
    imported: Path, tiny_run: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(dataclasses.replace(tiny_run, max_steps=2))
    command = ["train", "--config", f"{tiny_run.out}/config.yaml", "--init_from", str(imported)]
    assert main([*command, "--allow_change"]) == 2
    assert f"began with other weights (its own, not those of {imported})" in capsys.readouterr().err


def test_the_shape_of_the_model_comes_from_the_source_and_all_else_from_the_command(
    imported: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(f"init_from: {imported}\nmodel:\n  dropout: 0.2\ntokens_per_step: 256\n")
    config = parse("train", ["--config", f"{tmp_path}/mine.yaml", "--out", "new"])
    assert config.model == dataclasses.replace(SHAPE, dropout=0.2)
    assert (config.learning_rate, config.out) == (TrainConfig.learning_rate, "new")
