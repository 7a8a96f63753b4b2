"""What a run has read is known for each step, through changes of settings and data."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.config import TrainConfig
from gpt_research.data.loader import DataLoader
from gpt_research.data.readings import Stretch
from gpt_research.data.shards import Dataset, data_fingerprint
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.run_reference import RunReference
from gpt_research.settings_history import Period, record
from gpt_research.training.loop import train
from gpt_research.training.run_readings import RunReadings


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[np.ndarray]]:
    """The sequences that training takes from its loader, by step counted from 1; if a step is taken
    twice, those of the last time.
    """
    taken: dict[int, list[np.ndarray]] = {}
    sequences = DataLoader.sequences

    def record(self: DataLoader, step: int, micro_step: int) -> Any:
        found = sequences(self, step, micro_step)
        if micro_step == 0:
            taken[step + 1] = []
        taken[step + 1] += list(found.numpy().copy())
        return found

    monkeypatch.setattr(DataLoader, "sequences", record)
    return taken


def check(run: Path, taken: dict[int, list[np.ndarray]], data: str = "", steps: range | None = None) -> RunReadings:
    """Compare what is computed for many stretches with the sequences that training took."""
    known = RunReadings.open(RunReference(run), data)
    rng, stretches = np.random.default_rng(5), []
    for corpus, files in known.dataset.train.items():
        for shard, array in enumerate(files.arrays):
            ends = files.document_ends(shard)
            for start in rng.integers(0, len(array) - 40, 1200).tolist():
                stop = min(start + 12, int(ends[np.searchsorted(ends, start, side="right")]))
                stretches.append(Stretch(corpus, shard, start, stop))
    arrays = {(name, n): a for name, files in known.dataset.train.items() for n, a in enumerate(files.arrays)}
    rows = {
        (step, number): row.astype("<u2").tobytes()
        for step, of_step in taken.items()
        for number, row in enumerate(of_step)
        if steps is None or step in steps
    }
    seen = 0
    for stretch, found in zip(stretches, known.of(stretches), strict=True):
        text = arrays[stretch.corpus, stretch.shard][stretch.start : stretch.stop]
        for reading in found:
            row = rows[reading.step, reading.row]
            held = row[2 * reading.in_window : 2 * (reading.in_window + reading.last - reading.first)]
            assert held == text[reading.first : reading.last].tobytes()
        whole = {(r.step, r.row) for r in found if r.last - r.first == len(text)}
        holding = {place for place, row in rows.items() if text.tobytes() in row}
        assert whole <= holding
        # A row that holds the text and is not listed has read it at another place.
        elsewhere = sum(array.tobytes().count(text.tobytes()) for array in arrays.values()) > 1
        assert whole == holding or elsewhere
        seen += len(whole)
    assert seen > 20
    return known


def test_a_run_that_went_on_with_other_settings_has_read_what_it_took(
    tiny_run: TrainConfig, read: dict[int, list[np.ndarray]]
) -> None:
    run = Path(tiny_run.out)
    first = replace(tiny_run, eval_interval=0, save_interval=4)
    train(first, until=8)
    train(
        replace(first, tokens_per_step=512, seed=9, weights={"plays": 0.2, "tales": 0.8}, allow_change=True), until=10
    )
    shuffled = replace(
        first, resume=str(run), step="8", tokens_per_step=128, micro_batch=2, shuffle_documents=True, allow_change=True
    )
    train(shuffled)
    known = check(run, read)
    assert [(part.steps.start, part.steps.stop) for part in known.parts] == [(1, 9), (9, 13)]
    assert [part.loader.samples_per_step for part in known.parts] == [8, 4]
    assert known.last_step == 12
    assert not known.unknown
    assert RunReadings.open(RunReference(run, "8", is_named=True)).last_step == 8


def test_every_window_of_a_step_is_found_again(tiny_run: TrainConfig, read: dict[int, list[np.ndarray]]) -> None:
    train(replace(tiny_run, eval_interval=0))
    known = RunReadings.open(RunReference(Path(tiny_run.out)))
    T = tiny_run.model.block_size
    stretches = [
        Stretch(corpus, shard, start, start + T + 1)
        for corpus, files in known.dataset.train.items()
        for shard, array in enumerate(files.arrays)
        for start in range(len(array) - T)
    ]
    found = {
        (r.step, r.row): stretch
        for stretch, of_stretch in zip(stretches, known.of(stretches), strict=True)
        for r in of_stretch
        if r.last - r.first == T + 1
    }
    assert found.keys() == {(step, row) for step, rows in read.items() for row in range(len(rows))}
    for (step, row), at in found.items():
        array = known.dataset.train[at.corpus].arrays[at.shard]
        assert np.array_equal(read[step][row], array[at.start : at.stop])


def test_steps_on_other_data_are_named_and_left_out(
    tiny_run: TrainConfig, read: dict[int, list[np.ndarray]], text_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    preprocess(
        PreprocessConfig(
            corpora=[f"plays={text_folder}"],
            out=str(other),
            tokenizer=str(Path(tiny_run.data) / "tokenizer.json"),
            val_fraction=0.3,
            workers=1,
            near_duplicates=False,
        )
    )
    run = Path(tiny_run.out)
    train(replace(tiny_run, eval_interval=0), until=4)
    train(replace(tiny_run, eval_interval=0, data=str(other), allow_change=True))
    known = check(run, read, steps=range(5, 13))
    assert f"Steps 1 to 4 read another data set ({tiny_run.data}, " in known.unknown[0]
    known = check(run, read, tiny_run.data, steps=range(1, 5))
    assert f"Steps 5 to 12 read another data set ({other}, " in known.unknown[0]
    shutil.move(other, tmp_path / "moved")
    with pytest.raises(UserError, match="No data set at"):
        RunReadings.open(RunReference(run))
    assert check(run, read, str(tmp_path / "moved"), steps=range(5, 13)).last_step == 12


def written(config: TrainConfig, lineage: dict[str, Any], data: str | None = None) -> RunReference:
    """A run folder with a checkpoint and a logged step 12; with `data`, it has a history too."""
    run = Path(config.out)
    run.mkdir()
    write_yaml(config, run / "config.yaml")
    if data is not None:
        record(run, Period(0, config, data))
    save_checkpoint(run, Checkpoint(8, {"w": torch.ones(1)}, {}, {"lineage": lineage}), keep_last=1)
    (run / "metrics.jsonl").write_text('{"step": 12, "loss": 1.0}\n')
    return RunReference(run)


def test_a_run_on_other_data_is_refused_in_words(tiny_run: TrainConfig) -> None:
    reference = written(tiny_run, {}, data="0123456789abcdef")
    with pytest.raises(UserError, match=r"was not trained on the data set in .*but on that of .*0123456789ab.*--data"):
        RunReadings.open(reference)


@pytest.mark.parametrize(
    ("lineage", "sentence"),
    [
        (
            {"init_from": {"run": "runs/a", "step": 2000}},
            "the weights of step 2,000 of runs/a. What that run read is not",
        ),
        ({"imported_from": "someone/model"}, "the weights of someone/model. What these have read is not known."),
        ({"mean_of": {"checkpoints": [{"run": "runs/a"}, {"run": "runs/b"}]}}, "checkpoints of runs/a, runs/b."),
    ],
)
def test_a_run_that_began_with_other_weights_says_so(
    lineage: dict[str, Any], sentence: str, tiny_run: TrainConfig
) -> None:
    (said,) = RunReadings.open(written(tiny_run, lineage)).unknown
    assert sentence in said


def test_a_run_without_a_history_goes_by_its_config_and_its_checkpoints(tiny_run: TrainConfig) -> None:
    reference = written(tiny_run, {"data": "0123456789abcdef"})
    with pytest.raises(UserError, match="was not trained on the data set"):
        RunReadings.open(reference)
    shutil.rmtree(reference.folder)
    fingerprint = data_fingerprint(Dataset(tiny_run.data, 32).manifests)
    known = RunReadings.open(written(tiny_run, {"data": fingerprint}))
    assert [part.steps for part in known.parts] == [range(1, 13)]
    assert known.last_step == 12
