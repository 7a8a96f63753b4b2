"""Exporters ask a model what it is, and refuse what the target cannot say; a format from outside is
one entry."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export.small_runs import SMALL, write_run

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.exporting import FORMATS, Format, export_run
from gpt_research.export.families.table import FAMILIES, family_of, require_family
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


VALUES_OF_LLAMA = {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False}
LLAMA = replace(SMALL, **VALUES_OF_LLAMA)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "family", "in_llama_cpp"),
    [
        (SMALL, "gpt2", "gpt2"),
        (replace(SMALL, bias=False, tie_weights=False, dropout=0.1, n_ff=100, norm_eps=1e-6), "gpt2", "gpt2"),
        (replace(SMALL, positions="sinusoidal"), "gpt2", "gpt2"),
        (replace(SMALL, initialisation="zero_projections", rope_theta=5.0), "gpt2", "gpt2"),
        (replace(SMALL, parametrization="mup", mup_base_width=16), "gpt2", "gpt2"),
        (replace(SMALL, n_kv_head=2, head_size=16), "gpt2", "gpt2"),
        (LLAMA, "llama", "llama"),
        (replace(LLAMA, n_head=4, n_kv_head=1, head_size=12, rope_theta=1e6, n_ff=80), "llama", "llama"),
        (replace(LLAMA, bias=True, tie_weights=False), "llama", "llama"),
        (replace(LLAMA, activation="geglu"), "llama", None),
        (replace(LLAMA, qk_norm=True, n_embd=33, head_size=6), "qwen3", "qwen3"),
        (replace(LLAMA, qk_norm=True, bias=True), None, None),
    ],
)
def test_a_model_belongs_to_the_family_that_computes_what_it_computes(
    config: GPTConfig, family: str | None, in_llama_cpp: str | None
) -> None:
    found = [family_of(config, program) for program in ("transformers", "llama.cpp")]
    assert [each and each.name for each in found] == [family, in_llama_cpp]


@pytest.mark.parametrize(
    ("changes", "nearest", "obstacles"),
    [
        (
            {"norm": "toy_norm", "activation": "toy_relu2", "attention": "toy_window"},
            "GPT-2",
            "model.norm is toy_norm (GPT-2: layernorm); model.activation is toy_relu2 (GPT-2: gelu_tanh); "
            "model.attention is toy_window (GPT-2: causal)",
        ),
        (
            {"n_head": 4, "n_kv_head": 2, "head_size": 10},
            "GPT-2",
            "model.n_kv_head is 2 (GPT-2: model.n_head); model.head_size is 10 (GPT-2: model.n_embd / model.n_head)",
        ),
        (
            {**VALUES_OF_LLAMA, "activation": "relu2", "qk_norm": True, "logit_softcap": 15.0},
            "Qwen3",
            "model.activation is relu2 (Qwen3: swiglu or geglu); model.logit_softcap is 15.0 (Qwen3: 0.0)",
        ),
        (
            {**VALUES_OF_LLAMA, "value_embeddings": True, "positions": "alibi"},
            "Llama",
            "model.positions is alibi (Llama: rope); model.value_embeddings is True (Llama: False)",
        ),
        (
            {**VALUES_OF_LLAMA, "n_embd": 33, "head_size": 8},
            "Llama",
            "model.n_embd is 33 (Llama: a multiple of model.n_head)",
        ),
    ],
)
def test_what_fits_no_family_is_refused_with_all_that_stands_in_the_way_of_the_nearest(
    changes: dict[str, object], nearest: str, obstacles: str
) -> None:
    config = replace(SMALL, **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError) as refusal:
        require_family(config, "transformers")
    titles = ", ".join(family.title for family in FAMILIES.values())
    assert str(refusal.value) == (
        f"transformers knows no such model (it knows {titles}). Nearest is {nearest}, but {obstacles}. "
        "--format safetensors takes any model."
    )


def test_a_new_setting_is_refused_until_a_family_says_that_it_has_it() -> None:
    """A family lists what it has, so that a variant of tomorrow cannot slip through unseen."""
    known = {field.name for field in dataclasses.fields(GPTConfig)}
    for family in FAMILIES.values():
        assert known >= {*family.free, *family.values, *family.values_of_llama_cpp}
    for config in (SMALL, LLAMA, replace(LLAMA, qk_norm=True)):
        family = require_family(config, "transformers")
        other = replace(config, attention="of_tomorrow")
        assert [obstacle.setting for obstacle in family.obstacles(other, "llama.cpp")] == ["attention"]


@pytest.mark.parametrize(("format", "package"), [("hf", "transformers"), ("gguf", "gguf")])
def test_a_format_that_cannot_say_a_model_refuses_it_and_leaves_nothing(
    format: str, package: str, toy_run: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    expected = r"Nearest is GPT-2, but model\.activation is toy_relu2 \(GPT-2: gelu_tanh\)\. --format safetensors"
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
    config, tensors = FAMILIES["gpt2"].form(bare, model_tensors(GPT(bare, 0)))
    padded = GPT(config).saved_rows()
    expected = {name: tuple(p.shape) for name, p in GPT(config).named_parameters() if name not in padded}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in padded} == expected
    assert tensors["token_embedding.weight"].shape == tensors["head.weight"].shape == (50, 16)
