"""What comes in becomes the same weights in a run folder; what is hostile, broken or foreign is
refused."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from export.small_runs import VARIANTS

import gpt_research.export.importing as importing
from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.cli.import_ import ImportCommand, run
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import hf as huggingface
from gpt_research.export.exporting import export_run
from gpt_research.export.families.gpt2 import to_gpt2
from gpt_research.export.importing import import_model
from gpt_research.model.gpt import GPT
from gpt_research.run import Run, load_model

MakeRun = Callable[..., tuple[Path, GPT]]


@pytest.fixture
def hf_folder(make_run: MakeRun, tmp_path: Path) -> Path:
    """An exported model, by writing alone: its proof has tests of its own."""
    folder = tmp_path / "hf"
    folder.mkdir()
    huggingface.write(folder, Run.open(make_run()[0]), "f32")
    return folder


def import_from(source: Path | str, tmp_path: Path, **settings: Any) -> tuple[GPT, Tokenizer]:
    import_model(str(source), str(tmp_path / "imported"), **settings)
    return load_model(tmp_path / "imported")


def refused(source: Path | str, tmp_path: Path, match: str, **settings: Any) -> None:
    """Check that an import fails in one sentence and leaves no folder."""
    with pytest.raises(UserError, match=match):
        import_from(source, tmp_path, **settings)
    assert not (tmp_path / "imported").exists()
    assert not list(tmp_path.glob(".*.part"))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("variant", ["gpt2", "no_bias", "untied", "llama", "llama_biased", "qwen3"])
def test_a_round_trip_through_hugging_face_keeps_every_bit(
    variant: str, make_run: MakeRun, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder, model = make_run(variant)
    export_run(folder, tmp_path / "hf")
    back, back_tokenizer = import_from(tmp_path / "hf", tmp_path)
    before, after = model_tensors(model), model_tensors(back)
    assert back.config == model.config
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert back_tokenizer.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_round_trip_through_plain_safetensors_keeps_every_bit(
    variant: str, make_run: MakeRun, tmp_path: Path
) -> None:
    folder, model = make_run(variant)
    export_run(folder, tmp_path / "plain", format="safetensors")
    back, _ = import_from(tmp_path / "plain", tmp_path)
    before, after = model_tensors(model), model_tensors(back)
    assert back.config == model.config
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_sinusoidal_positions_come_back_as_an_equal_model_with_a_learned_table(
    make_run: MakeRun, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder, model = make_run("sinusoidal")
    (tmp_path / "hf").mkdir()
    huggingface.write(tmp_path / "hf", Run.open(folder), "f32")
    back, _ = import_from(tmp_path / "hf", tmp_path)
    assert back.config.positions == "learned"
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(back(tokens), model(tokens), atol=1e-5, rtol=1e-5)


def test_an_imported_run_can_be_trained_on(hf_folder: Path, tmp_path: Path) -> None:
    import_from(hf_folder, tmp_path)
    config = read_yaml(TrainConfig, tmp_path / "imported" / "config.yaml")
    assert config.accumulation_steps(1) >= 1
    assert config.model.block_size == 48


def test_weights_in_several_files_and_half_precision_are_read(hf_folder: Path, tmp_path: Path) -> None:
    tensors = safetensors.torch.load_file(hf_folder / "model.safetensors")
    (hf_folder / "model.safetensors").unlink()
    halves = {"a.safetensors": {}, "b.safetensors": {}}
    for index, (name, tensor) in enumerate(tensors.items()):
        halves["ab"[index % 2] + ".safetensors"][name] = tensor.bfloat16()
    for file, part in halves.items():
        safetensors.torch.save_file(part, hf_folder / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (hf_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model, _ = import_from(hf_folder, tmp_path)
    expected = tensors["transformer.wte.weight"].bfloat16().float()
    assert torch.equal(model_tensors(model)["token_embedding.weight"], expected)


def test_an_index_that_leaves_the_folder_is_refused(hf_folder: Path, tmp_path: Path) -> None:
    (hf_folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    for file in ("../model.safetensors", str(tmp_path / "model.safetensors"), 3):
        index = {"weight_map": {"transformer.wte.weight": file}}
        (hf_folder / "model.safetensors.index.json").write_text(json.dumps(index))
        refused(hf_folder, tmp_path, "names files outside the folder")


def test_the_two_older_tokenizer_files_serve_too(hf_folder: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    content = json.loads((hf_folder / "tokenizer.json").read_text())
    (hf_folder / "tokenizer.json").unlink()
    (hf_folder / "vocab.json").write_text(json.dumps(content["model"]["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in content["model"]["merges"]), ""]
    (hf_folder / "merges.txt").write_text("\n".join(lines))
    assert import_from(hf_folder, tmp_path)[1].fingerprint == tokenizer.fingerprint


def write_nanogpt(path: Path, model: GPT, rows: int, **changes: Any) -> None:
    """Save a checkpoint as nanoGPT's train.py does: compiled names, tied head stored twice, padded
    rows."""
    tensors = to_gpt2(model_tensors(model), "linear")
    wte = torch.cat((tensors["transformer.wte.weight"], torch.randn(rows - model.config.vocab_size, 32)))
    tensors |= {"transformer.wte.weight": wte, "lm_head.weight": wte}
    shape = {n: getattr(model.config, n) for n in ("n_layer", "n_head", "n_embd", "block_size", "bias")}
    content = {
        "model": {f"_orig_mod.{name}": t for name, t in tensors.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 6e-4}]},
        "model_args": shape | {"vocab_size": rows, "dropout": 0.0},
        "iter_num": 3,
        "best_val_loss": torch.tensor(2.5),
        "config": {"out_dir": "out", "compile": True},
    }
    torch.save(content | changes, path)


@pytest.mark.parametrize("variant", ["gpt2", "no_bias"])
def test_nanogpts_checkpoint_is_read_and_its_padding_left_out(variant: str, make_run: MakeRun, tmp_path: Path) -> None:
    folder, model = make_run(variant)
    (tmp_path / "nano").mkdir()
    write_nanogpt(tmp_path / "nano" / "ckpt.pt", model, rows=model.config.vocab_size + 47)
    tokenizer = str(folder / "tokenizer.json")
    back, _ = import_from(tmp_path / "nano", tmp_path, allow_pickle=True, tokenizer=tokenizer)
    before, after = model_tensors(model), model_tensors(back)
    assert back.config == model.config
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_tokenizer_much_smaller_than_the_model_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    folder, model = make_run()
    write_nanogpt(tmp_path / "ckpt.pt", model, rows=model.config.vocab_size + 512)
    tokenizer = str(folder / "tokenizer.json")
    refused(tmp_path / "ckpt.pt", tmp_path, "do not belong together", allow_pickle=True, tokenizer=tokenizer)


def test_a_pickle_is_opened_only_by_explicit_wish(make_run: MakeRun, tmp_path: Path) -> None:
    _, model = make_run()
    write_nanogpt(tmp_path / "ckpt.pt", model, rows=model.config.vocab_size)
    refused(tmp_path / "ckpt.pt", tmp_path, "is a pickle.*--allow_pickle")


class Payload:
    """Writes a file when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_payload_in_a_pickle_never_runs(make_run: MakeRun, tmp_path: Path) -> None:
    _, model = make_run()
    mark = tmp_path / "ran"
    write_nanogpt(tmp_path / "ckpt.pt", model, rows=model.config.vocab_size, config=Payload(mark))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(mark)))
    for file in ("ckpt.pt", "plain.pt"):
        refused(tmp_path / file, tmp_path, "was refused|not a checkpoint", allow_pickle=True)
    assert not mark.exists()
    torch.load(tmp_path / "ckpt.pt", weights_only=False)
    assert mark.exists(), "the payload is real"


def test_a_folder_with_a_pickle_only_is_refused(hf_folder: Path, tmp_path: Path) -> None:
    (hf_folder / "model.safetensors").rename(hf_folder / "pytorch_model.bin")
    for allow in (False, True):
        refused(hf_folder, tmp_path, r"only as a pickle \(pytorch_model\.bin\)", allow_pickle=allow)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba', and it must be 'gpt2' or 'llama' or 'qwen3'"),
        ({"model_type": "llama"}, "does not say 'hidden_size'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu'"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0, and it must be a number above 0"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_inner": 100}, r"mlp\.\w+\.\w+ has shape .*, and its config says \(.*100"),
        ({"n_layer": 10**9}, "says 1000000000 layers, its weights 2"),
        ({"n_layer": "many"}, "cannot be imported: n_layer is 'many'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized weights are not supported"),
        ({"n_positions": 64}, r"position_embedding.weight has shape \(48, 32\)"),
        ({"n_head": 5}, "n_head"),
        ({"vocab_size": 300}, r"token_embedding.weight has shape \(\d+, 32\)"),
    ],
)
def test_a_config_that_gpt2_does_not_fit_is_refused(
    changes: dict[str, Any], match: str, hf_folder: Path, tmp_path: Path
) -> None:
    edit_json(hf_folder / "config.json", **changes)
    refused(hf_folder, tmp_path, match)


def test_damaged_files_are_refused_by_name(hf_folder: Path, tmp_path: Path) -> None:
    path = hf_folder / "model.safetensors"
    whole = path.read_bytes()
    for broken in (whole[:-10], whole[:100], b"", (2**63).to_bytes(8, "little") + whole[8:]):
        path.write_bytes(broken)
        refused(hf_folder, tmp_path, "model.safetensors is damaged")
    path.write_bytes(whole)
    tensors = safetensors.torch.load_file(path)
    short = {name: t for name, t in tensors.items() if name != "transformer.h.1.mlp.c_fc.bias"}
    safetensors.torch.save_file(short, path)
    refused(hf_folder, tmp_path, "not a whole model: it lacks blocks.1.mlp.up.bias")
    tensors["transformer.ln_f.weight"][3] = torch.nan
    safetensors.torch.save_file(tensors, path)
    refused(hf_folder, tmp_path, "not finite in norm.weight")
    (hf_folder / "config.json").write_text("{")
    refused(hf_folder, tmp_path, "config.json is damaged")


def test_a_tokenizer_of_another_size_is_refused(hf_folder: Path, tmp_path: Path) -> None:
    Tokenizer.train(["abc abd"], 257).save(hf_folder / "small.json")
    refused(hf_folder, tmp_path, "they do not belong together", tokenizer="gpt2")
    (hf_folder / "tokenizer.json").unlink()
    refused(hf_folder, tmp_path, "comes without a tokenizer")


def test_a_source_that_is_nothing_is_one_sentence(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def no_network(*_: object, **__: object) -> str:
        raise ConnectionError("no way to the hub\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    refused("some-owner/some-model", tmp_path, "could not be fetched from the hub as a model: no way to the hub$")
    refused(tmp_path / "nowhere" / "at" / "all", tmp_path, "There is no")
    refused(make_run()[0], tmp_path, "is a run folder already")
    (tmp_path / "void").mkdir()
    refused(tmp_path / "void", tmp_path, "it has no config.json")


def test_a_hub_name_brings_safetensors_and_json_only(
    hf_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        return str(hf_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert run(ImportCommand(source="owner/model", out=str(tmp_path / "imported"), revision="abc")) == 0
    assert asked["name"] == "owner/model"
    assert asked["revision"] == "abc"
    assert all(p.endswith((".safetensors", ".json", ".txt")) for p in asked["allow_patterns"])
    assert "Wrote the run folder" in capsys.readouterr().out


def test_a_run_that_fails_to_load_is_not_left_behind(
    hf_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise UserError("it does not load")

    monkeypatch.setattr(importing.Run, "open", fail)
    refused(hf_folder, tmp_path, "it does not load")
