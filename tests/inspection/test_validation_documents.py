"""The loss on each validation document, and at each position, against a pass by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.data.documents import Documents
from gpt_research.data.shards import Dataset, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.inspection import validation
from gpt_research.inspection.validation import ValidationLosses, ValidationPass, keep_losses, read_losses
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

T = 24


@pytest.fixture
def run(dataset_folder: Path, tmp_path: Path) -> Run:
    """A run of random weights, whose context does not divide the documents."""
    folder = tmp_path / "run"
    folder.mkdir()
    tokenizer = Tokenizer.load(dataset_folder / "tokenizer.json")
    shape = GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=T, vocab_size=tokenizer.vocab_size)
    tokenizer.save(folder / "tokenizer.json")
    write_yaml(TrainConfig(model=shape, tokens_per_step=8 * T), folder / "config.yaml")
    save_checkpoint(folder, Checkpoint(5, model_tensors(GPT(shape, seed=1)), {}, {}), keep_last=9)
    return Run.open(folder)


def passed(run: Run, dataset_folder: Path) -> ValidationLosses:
    documents = Documents(read_manifests(dataset_folder))
    going = ValidationPass(run, documents, Dataset(dataset_folder, T).val)
    assert going.done == 0
    while going.advance():
        assert 0 < going.done <= going.windows
    assert going.done == going.windows
    return going.result()


@torch.no_grad()
def test_losses_are_those_of_training_own_windows(run: Run, dataset_folder: Path) -> None:
    found = passed(run, dataset_folder)
    positions, counts = np.zeros(T), np.zeros(T, int)
    for name, files in Dataset(dataset_folder, T).val.items():
        documents = Documents(read_manifests(dataset_folder))
        nats, scored, size = (np.zeros(documents.count(name, "val")) for _ in range(3))
        lengths = run.tokenizer.byte_lengths
        [array] = files.arrays
        owner = np.cumsum(array == run.tokenizer.end_of_text) - (array == run.tokenizer.end_of_text)
        for start in range(0, len(array) - 1, T):
            window = torch.from_numpy(array[start : start + T + 1].astype(np.int64))
            log_p = run.model(window[None, :-1])[0].double().log_softmax(-1)
            for at in range(len(window) - 1):
                target = int(window[at + 1])
                loss, place = -float(log_p[at, target]), int(owner[start + at + 1])
                nats[place] += loss
                scored[place] += 1
                size[place] += lengths[target]
                positions[at] += loss
                counts[at] += 1
        np.testing.assert_allclose(found.corpora[name].nats, nats, rtol=1e-5)
        np.testing.assert_array_equal(found.corpora[name].scored, scored)
        np.testing.assert_array_equal(found.corpora[name].bytes, size)
    np.testing.assert_allclose(found.position_nats, positions, rtol=1e-5)
    np.testing.assert_array_equal(found.position_tokens, counts)


def test_of_a_large_split_windows_are_taken_that_spread_over_it(
    run: Run, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MOST_TOKENS", 10 * T)
    found = passed(run, dataset_folder)
    assert found.position_tokens.max() == 20  # ten windows of each of two corpora
    assert all((corpus.scored > 0).sum() > 1 for corpus in found.corpora.values())


def test_losses_are_kept_for_these_weights_and_this_data_alone(
    run: Run, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = passed(run, dataset_folder)
    assert read_losses(run, "data") is None
    keep_losses(run, "data", found)
    kept = read_losses(run, "data")
    assert kept is not None
    np.testing.assert_array_equal(kept.position_nats, found.position_nats)
    for name, corpus in found.corpora.items():
        np.testing.assert_array_equal(kept.corpora[name].nats, corpus.nats)
    assert read_losses(run, "other data") is None
    monkeypatch.setattr(validation, "MOST_TOKENS", 100)
    assert read_losses(run, "data") is None
    monkeypatch.undo()
    save_checkpoint(run.folder, Checkpoint(5, model_tensors(GPT(run.model.config, seed=2)), {}, {}), keep_last=9)
    assert read_losses(Run.open(run.folder), "data") is None
    path = run.folder / "document_losses" / "step_00000005.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert read_losses(run, "data") is None


def test_losses_of_steps_that_are_gone_are_dropped_and_a_folder_that_refuses_is_no_error(
    run: Run, dataset_folder: Path
) -> None:
    found = passed(run, dataset_folder)
    folder = run.folder / "document_losses"
    folder.mkdir()
    (folder / "step_00000003.npz").write_bytes(b"")
    keep_losses(run, "data", found)
    assert [path.name for path in folder.iterdir()] == ["step_00000005.npz"]
    (folder / "step_00000005.npz").unlink()
    folder.rmdir()
    folder.write_text("a file is in the way")
    keep_losses(run, "data", found)
    assert read_losses(run, "data") is None
