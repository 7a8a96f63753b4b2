"""Exporters ask a model what it is, and refuse what the target cannot say; a format from outside is
one entry."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import SMALL, write_run

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.architecture import architecture_of, as_gpt2, unsupported_settings
from gpt_research.export.exporting import FORMATS, Format, export_run
from gpt_research.export.importing import import_model
from gpt_research.export.plain import read_model
from gpt_research.export.proof import BOUNDS, Bound, OurReader, Reader
from gpt_research.model.gpt import GPT
from gpt_research.model.variants import ACTIVATIONS
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

MakeRun = Callable[..., tuple[Path, GPT]]
TOY = replace(SMALL, activation="toy_relu2")


@pytest.fixture
def toy_run(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a model that no other program knows."""
    monkeypatch.setitem(ACTIVATIONS, "toy_relu2", lambda x: x.relu().square())
    write_run(tmp_path / "run", TOY, tokenizer)
    return tmp_path / "run"


@pytest.mark.parametrize(
    "changes", [{}, {"bias": False}, {"positions": "sinusoidal"}, {"tie_weights": False}, {"dropout": 0.1}], ids=str
)
def test_every_model_of_0_1_is_a_gpt2(changes: dict[str, object]) -> None:
    config = replace(SMALL, **changes)  # type: ignore[arg-type]
    assert architecture_of(config) == "gpt2"
    assert unsupported_settings(config) == []


def test_each_setting_that_gpt2_does_not_have_is_named() -> None:
    config = replace(SMALL, norm="toy_norm", activation="toy_relu2", positions="toy_rope", attention="toy_window")
    assert architecture_of(config) is None
    assert unsupported_settings(config) == [
        "model.norm is toy_norm (GPT-2: layernorm)",
        "model.activation is toy_relu2 (GPT-2: gelu_tanh)",
        "model.positions is toy_rope (GPT-2: learned or sinusoidal)",
        "model.attention is toy_window (GPT-2: causal)",
    ]


@pytest.mark.parametrize(("format", "package"), [("hf", "transformers"), ("gguf", "gguf")])
def test_a_format_that_cannot_say_a_model_refuses_it_and_leaves_nothing(
    format: str, package: str, toy_run: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    expected = r"no form as a GPT-2, because model\.activation is toy_relu2 \(GPT-2: gelu_tanh\)\. --format safetensors"
    with pytest.raises(UserError, match=expected):
        export_run(toy_run, tmp_path / "out", format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_model_of_any_shape_leaves_and_comes_back_under_our_own_names(toy_run: Path, tmp_path: Path) -> None:
    export_run(toy_run, tmp_path / "out", format="safetensors")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "A decoder-only transformer of" in card
    assert "tags: [gpt-research]" in card
    import_model(str(tmp_path / "out"), str(tmp_path / "back"))
    before, after = Run.open(toy_run).model, Run.open(tmp_path / "back").model
    assert after.config == before.config
    tensors = model_tensors(after)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model_tensors(before).items())


def test_a_format_from_outside_is_one_entry(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, run: Run, dtype: str, licence: str) -> Path:
        tensors = {name: tensor.numpy() for name, tensor in model_tensors(run.model).items()}
        np.savez(folder / "weights.npz", **tensors)
        return FORMATS["safetensors"].write(folder, run, dtype, licence)

    def readers(file: Path, run: Run, dtype: str) -> Iterator[tuple[Reader, Bound]]:
        yield OurReader(*read_model(file.parent), "numpy"), BOUNDS[dtype]

    monkeypatch.setitem(FORMATS, "npz", Format(write, readers, "Load FILE of RUN.", dtypes=("f32",)))
    (proof,) = export_run(make_run()[0], tmp_path / "out", format="npz")
    assert proof.reader == "numpy"
    assert "Load model.safetensors of run_gpt2." in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(UserError, match="it must be f32 for --format npz"):
        export_run(make_run("untied")[0], tmp_path / "two", format="npz", dtype="f16")


def test_a_model_as_gpt2_has_every_bias_and_a_table_of_positions() -> None:
    bare = GPTConfig(n_layer=1, n_head=1, n_embd=16, block_size=8, vocab_size=50, positions="sinusoidal", bias=False)
    config, tensors = as_gpt2(GPT(bare, 0))
    padded = GPT(config).saved_rows()
    expected = {name: tuple(p.shape) for name, p in GPT(config).named_parameters() if name not in padded}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in padded} == expected
    assert tensors["token_embedding.weight"].shape == tensors["head.weight"].shape == (50, 16)
