"""Small inputs that many tests share."""

from __future__ import annotations

import os

# One thread for each test and the processes it starts: two threads that wait for each other on a
# busy machine take ten times as long as one. Torch reads it when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from gpt_research.base import wait_policy

wait_policy.choose()

import functools
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import chromium
from small_texts import make_text
from small_training import small_training

from gpt_research.base import peak_flops
from gpt_research.config import TrainConfig
from gpt_research.model_config import GPTConfig
from gpt_research.preprocessing.pipeline import preprocess
from gpt_research.preprocessing.settings import PreprocessConfig
from gpt_research.training import loop

__all__ = ["chromium"]  # one browser for all tests of a process
SHARED = Path(__file__).parents[1].parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest test, so that no core waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_demo.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while modules are imported: it would be looked for again and again in all
    of them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


modules_set_aside = 0
"""Modules that had been imported when garbage was last looked for in all of them."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Leave what has been imported out of all later searches for garbage. In a process of tests it
    is a million objects, and each training that begins would look at all of them.
    """
    global modules_set_aside
    if len(sys.modules) != modules_set_aside:
        gc.collect()
        gc.freeze()
        modules_set_aside = len(sys.modules)
    return (yield)


@pytest.fixture(scope="session", autouse=True)
def imports_stay_set_aside() -> Iterator[None]:
    """Training sets everything aside while it runs, and at its end takes back all that is set
    aside, so here it only looks for garbage.
    """
    with pytest.MonkeyPatch.context() as patch:
        nothing = SimpleNamespace(collect=gc.collect, freeze=lambda: None, unfreeze=lambda: None)
        patch.setattr(loop, "gc", nothing)
        yield


@pytest.fixture(scope="session", autouse=True)
def peak_measured_once() -> Iterator[None]:
    """Measure the peak of this machine once; each run would take half a second to do it again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peak_flops, "measured_flops", functools.cache(peak_flops.measured_flops))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real samples beside the checkout."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("no folder of real samples beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small documents."""
    folder = tmp_path_factory.mktemp("texts")
    for seed in range(40):
        (folder / f"{seed:02d}.txt").write_text(make_text(seed, 60), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def dataset_folder(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two corpora with a trained tokenizer."""
    out = tmp_path_factory.mktemp("data") / "tokens"
    other = tmp_path_factory.mktemp("other")
    for seed in range(100, 110):
        (other / f"{seed}.txt").write_text(make_text(seed, 80), encoding="utf-8")
    preprocess(
        PreprocessConfig(
            corpora=[f"plays={text_folder}", f"tales={other}"],
            out=str(out),
            tokenizer="train",
            vocab_size=300,
            val_fraction=0.1,
            workers=1,
            near_duplicates=False,
        )
    )
    return out


@pytest.fixture
def tiny_run(dataset_folder: Path, tmp_path: Path) -> TrainConfig:
    """A run of a few seconds."""
    return small_training(
        dataset_folder,
        out=str(tmp_path / "run"),
        model=GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32, dropout=0.1),
        max_steps=12,
        tokens_per_step=256,
        learning_rate=3e-3,
        warmup_steps=2,
        eval_interval=6,
        eval_tokens=512,
        save_interval=4,
    )
