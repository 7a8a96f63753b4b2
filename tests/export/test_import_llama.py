"""Folders of transformers with Llama's and Qwen3's shape become runs that compute the same, and
leave again with equal tensors; what a run cannot compute is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from gpt_research.base import machine
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.exporting import export_run
from gpt_research.export.importing import import_model
from gpt_research.export.proof import PASSAGE
from gpt_research.generation.torch_engine import generate
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.step import TrainStep

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": False, "rms_norm_eps": 1e-5, **ROPE},
    "llama_tied": {"model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 4},
    "llama_biased": {
        "model_type": "llama",
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_act": "gelu_pytorch_tanh",
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 24, "tie_word_embeddings": True, **ROPE},
}


def write_folder(
    folder: Path, tokenizer: Tokenizer, *, extra_rows: int = 0, shards: str = "1GB", **settings: Any
) -> Any:
    """Save a model of random weights as transformers does; return it."""
    entries = {**SIZES, **settings, "vocab_size": tokenizer.vocab_size + extra_rows}
    config = transformers.AutoConfig.for_model(entries.pop("model_type"), **entries)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in theirs.parameters():
            drawn = torch.empty(parameter.shape).normal_(generator=generator)
            parameter.copy_(1 + 0.2 * drawn if parameter.dim() == 1 else 0.15 * drawn)
    theirs.to(entries.get("dtype", torch.float32)).save_pretrained(folder, max_shard_size=shards)
    tokenizer.save(folder / "tokenizer.json")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def edit(folder: Path, *gone: str, **changes: Any) -> None:
    """Change entries of config.json, and remove some."""
    path = folder / "config.json"
    entries = {k: v for k, v in json.loads(path.read_text()).items() if k not in gone}
    path.write_text(json.dumps(entries | changes))


def imported(folder: Path, tmp_path: Path) -> Run:
    import_model(str(folder), str(tmp_path / "run"))
    return Run.open(tmp_path / "run")


def check_logits(theirs: Any, run: Run) -> None:
    tokens = torch.tensor([run.tokenizer.encode(PASSAGE)[:64]])
    with torch.no_grad():
        expected = theirs(tokens).logits[..., : run.tokenizer.vocab_size]
        torch.testing.assert_close(run.model(tokens), expected, atol=1e-4, rtol=1e-4)


def check_equal(theirs: Any, run: Run) -> None:
    """Compare logits and greedy text."""
    check_logits(theirs, run)
    prompt = torch.tensor([run.tokenizer.encode(PASSAGE)[:16]])
    with torch.no_grad():
        written = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24, eos_token_id=None,
            pad_token_id=0,
        )[0, 16:].tolist()  # fmt: skip
    text = run.tokenizer.decode(prompt[0].tolist())
    (sample,) = generate(run.model, run.tokenizer, text, GenerateConfig(max_new_tokens=24, temperature=0))
    assert sample.tokens == written[: len(sample.tokens)]
    assert len(sample.tokens) == 24 or sample.tokens[-1] == run.tokenizer.end_of_text


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["one_file", "bf16_shards"])
def test_a_folder_of_transformers_computes_the_same_here_and_leaves_with_equal_tensors(
    kind: str, dtype: torch.dtype, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder, sharded = tmp_path / "theirs", dtype == torch.bfloat16
    theirs = write_folder(folder, tokenizer, dtype=dtype, shards="50KB" if sharded else "1GB", **MODELS[kind])
    assert (folder / "model.safetensors.index.json").is_file() == sharded
    run = imported(folder, tmp_path)
    assert {tensor.dtype for tensor in model_tensors(run.model).values()} == {torch.float32}
    check_equal(theirs, run)
    export_run(tmp_path / "run", tmp_path / "again", dtype="bf16" if sharded else "f32")
    before = {name: t for file in folder.glob("*.safetensors") for name, t in safetensors.torch.load_file(file).items()}
    after = safetensors.torch.load_file(tmp_path / "again" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    written = [json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "again")]
    assert {written[0][name] == written[1][name] for name in (*SIZES, "hidden_act", "rope_parameters", "head_dim")} == {
        True
    }


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_config_of_an_older_transformers_means_the_same(kind: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    theirs = write_folder(tmp_path / "theirs", tokenizer, **MODELS[kind])
    edit(
        tmp_path / "theirs",
        "rope_parameters",
        "dtype",
        "layer_types",
        rope_theta=5e5,
        rope_scaling=None,
        torch_dtype="float32",
    )
    run = imported(tmp_path / "theirs", tmp_path)
    assert run.model.config.rope_theta == 5e5
    check_equal(theirs, run)


def test_rows_that_stand_for_no_token_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Qwen3 has 267 of them."""
    theirs = write_folder(tmp_path / "theirs", tokenizer, extra_rows=267, **MODELS["llama"])
    run = imported(tmp_path / "theirs", tmp_path)
    assert run.model.config.vocab_size == tokenizer.vocab_size
    check_logits(theirs, run)  # random weights choose tokens that do not exist, too


def test_buffers_and_twice_stored_embeddings_of_old_files_are_passed_over(tmp_path: Path, tokenizer: Tokenizer) -> None:
    theirs = write_folder(tmp_path / "theirs", tokenizer, **MODELS["llama_tied"])
    file = tmp_path / "theirs" / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    check_equal(theirs, imported(tmp_path / "theirs", tmp_path))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "rope_parameters .*'llama3'"),
    ("llama", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling .*'linear'"),
    ("qwen3", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "scaled by 'yarn' are not supported"),
    ("llama", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
    ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "one set of rotary angles"),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 16}, "use_sliding_window is True, and it must be False"),
    ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types .*sliding window is not"),
    ("qwen3", {"attention_bias": True}, "attention_bias is True, and it must be False"),
    ("llama", {"attention_bias": True}, "mlp_bias is False, and it must be True, as attention_bias is"),
    ("llama", {"hidden_act": "relu2"}, "hidden_act is 'relu2', and it must be 'silu'"),
    ("llama", {"num_key_value_heads": 3}, "n_kv_head is 3, but it must be a divisor"),
    ("llama", {"head_dim": 8}, r"attention.\w+.weight has shape .*, and its config says"),
    ("llama", {"intermediate_size": "wide"}, "intermediate_size is 'wide', and it must be a number above 0"),
    ("llama", {"num_hidden_layers": 3}, "says 3 layers, its weights 2"),
    ("llama", {"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'"),
    ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantized weights are not supported"),
    ("llama", {"model_type": "mistral"}, "model_type is 'mistral', and it must be 'gpt2' or 'llama' or 'qwen3'"),
    ("llama", {"model_type": "qwen3"}, "lacks .*[qk]_norm"),
    ("qwen3", {"model_type": "llama"}, "has the unknown .*[qk]_norm"),
    ("qwen3", {"tie_word_embeddings": False}, "lacks head.weight"),
]  # fmt: skip


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("folders")
    for kind in ("llama", "qwen3"):
        write_folder(root / kind, tokenizer, **MODELS[kind])
    return lambda kind: root / kind


@pytest.mark.parametrize(("kind", "changes", "match"), REFUSED)
def test_what_a_run_cannot_compute_is_refused_by_name(
    kind: str, changes: dict[str, Any], match: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    for path in folders(kind).iterdir():
        (tmp_path / path.name).symlink_to(path)
    entries = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(entries | changes))
    with pytest.raises(UserError, match=match):
        import_model(str(tmp_path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_shard_and_a_missing_part_are_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = tmp_path / "theirs"
    write_folder(folder, tokenizer, shards="50KB", **MODELS["llama"])
    shard = sorted(folder.glob("*.safetensors"))[1]
    tensors = safetensors.torch.load_file(shard)
    shard.unlink()
    with pytest.raises(UserError, match=rf"{shard.name} is damaged"):
        import_model(str(folder), str(tmp_path / "run"))
    gone = next(name for name in tensors if name.endswith("_proj.weight"))
    safetensors.torch.save_file({name: t for name, t in tensors.items() if name != gone}, shard, {"format": "pt"})
    with pytest.raises(UserError, match="is not a whole model: it lacks"):
        import_model(str(folder), str(tmp_path / "run"))


def test_a_model_that_does_not_fit_the_memory_is_refused_before_it_is_read(
    folders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 100_000)
    with pytest.raises(UserError, match=r"The model in .*, in fp32, needs 0\.0 GiB of memory, and 0\.0 GiB are free"):
        import_model(str(folders("llama")), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    run = imported(folders("llama"), tmp_path)
    monkeypatch.setattr(machine, "free_memory", lambda: 100_000)
    with pytest.raises(UserError, match=r"The model in .* needs .* GiB of memory"):
        Run.open(run.folder)


class NoBatches:
    def sequences(self, step: int, micro_step: int) -> torch.Tensor:
        raise AssertionError


def test_a_model_that_cannot_be_trained_on_here_is_refused_with_the_memory_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of Qwen3 1.7B's shape; nothing is allocated, or the test would end here."""
    shape = GPTConfig(
        n_layer=28, n_head=16, n_kv_head=8, head_size=128, n_embd=2048, n_ff=6144, vocab_size=151_669,
        positions="rope", norm="rmsnorm", activation="swiglu", bias=False, qk_norm=True,
    )  # fmt: skip
    config = TrainConfig(model=shape, tokens_per_step=8 * shape.block_size)
    monkeypatch.setattr(machine, "free_memory", lambda: 20 << 30)
    runtime = Runtime(torch.device("cpu"), "fp32")
    with pytest.raises(UserError) as refusal:
        build_step(config, plan_execution(config, runtime), runtime, NoBatches(), TrainStep)
    assert re.match(
        r"Training 1,720,\d{3},\d{3} parameters with 16 bytes each \(weight, gradient, optimizer state\) needs 25\.6 "
        r"GiB of memory, and 20\.0 GiB are free\. ",
        str(refusal.value),
    )
