"""An export says in other programs what the run says here, and one that does not is never left
behind."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from export.small_runs import VARIANTS, write_run

from gpt_research.base.errors import UserError
from gpt_research.cli.export import ExportCommand, run
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export import exporting, gguf
from gpt_research.export import hf as huggingface
from gpt_research.export.exporting import export_run
from gpt_research.export.families.family import Family
from gpt_research.export.families.names import Tensors
from gpt_research.export.families.table import FAMILIES
from gpt_research.export.proof import PASSAGE, Bound, OurReader, prove
from gpt_research.generation.llama_cpp import LlamaCppReader
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

MakeRun = Callable[..., tuple[Path, GPT]]
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")
needs_llama_cpp = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed")


@needs_transformers
@pytest.mark.parametrize("variant", VARIANTS)
def test_transformers_gives_the_runs_logits_text_and_tokens(
    variant: str, make_run: MakeRun, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    import transformers

    folder, model = make_run(variant)
    out = tmp_path / "hf"
    export_run(folder, out)

    theirs = transformers.AutoModelForCausalLM.from_pretrained(out)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert theirs.dtype == torch.float32
    assert their_tokenizer(PASSAGE, verbose=False)["input_ids"] == tokenizer.encode(PASSAGE)
    assert their_tokenizer.decode(tokenizer.encode(PASSAGE)) == PASSAGE
    assert len(their_tokenizer) == tokenizer.vocab_size
    assert their_tokenizer.eos_token_id == theirs.generation_config.eos_token_id == tokenizer.end_of_text
    tokens = torch.tensor([tokenizer.encode(PASSAGE)[: model.config.block_size]])
    with torch.no_grad():
        expected, found = model(tokens), theirs(tokens).logits
    assert found.shape[-1] == tokenizer.vocab_size < model.config.padded_vocab_size
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@needs_transformers
@pytest.mark.filterwarnings("ignore")  # transformers and its parts have warnings of their own
def test_a_pipeline_without_a_length_stays_within_a_short_context(make_run: MakeRun, tmp_path: Path) -> None:
    """The pipeline's own default is 256 tokens, and positions beyond the context do not exist."""
    from transformers import pipeline

    folder, model = make_run("gpt2")
    assert model.config.block_size < 256
    export_run(folder, tmp_path / "hf")
    generator = pipeline("text-generation", str(tmp_path / "hf"))
    written = generator("the king", return_tensors=True)[0]["generated_token_ids"]
    assert len(written) <= model.config.block_size
    shorter = generator("the king", max_length=12, return_tensors=True)[0]["generated_token_ids"]
    assert len(shorter) <= 12


@needs_transformers
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_rounded_weights_are_stored_in_their_type(dtype: str, make_run: MakeRun, tmp_path: Path) -> None:
    import transformers

    folder, _ = make_run()
    out = tmp_path / "hf"
    proofs = export_run(folder, out, dtype=dtype)
    stored = safetensors.torch.load_file(out / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {huggingface.TORCH_TYPES[dtype]}
    assert transformers.AutoModelForCausalLM.from_pretrained(out).dtype == huggingface.TORCH_TYPES[dtype]
    assert proofs[0].largest > 1e-5, "rounding shows, or the proof measured nothing"


@needs_gguf
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", ["f32", "q8_0"])
def test_gguf_holds_the_runs_weights_and_tokenizer(
    variant: str, dtype: str, make_run: MakeRun, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder, model = make_run(variant)
    path = tmp_path / "model.gguf"
    gguf.write(path, Run.open(folder), dtype)
    read_back, their_tokenizer = gguf.read(path)
    assert their_tokenizer.fingerprint == tokenizer.fingerprint
    assert read_back.config.vocab_size == tokenizer.vocab_size
    proof = prove(OurReader(model, tokenizer), OurReader(read_back, tokenizer), Bound(0.5, 5e-3))
    assert (proof.largest > 1e-4) == (dtype == "q8_0")


@needs_gguf
@needs_llama_cpp
@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        ("gpt2", "f32"),
        ("gpt2", "f16"),
        ("gpt2", "bf16"),
        ("gpt2", "q8_0"),
        ("untied", "f32"),
        ("sinusoidal_bare", "f32"),
        ("llama", "f32"),
        ("llama", "q8_0"),
        ("llama_biased", "f16"),
        ("qwen3", "f32"),
        ("qwen3", "f16"),
        ("qwen3_mup", "f32"),
    ],
)
def test_llama_cpp_gives_the_runs_logits_and_text(variant: str, dtype: str, make_run: MakeRun, tmp_path: Path) -> None:
    folder, _ = make_run(variant)
    out = tmp_path / "gguf"
    proofs = export_run(folder, out, format="gguf", dtype=dtype)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", f"{folder.name}-{dtype}.gguf"]
    assert [proof.reader for proof in proofs] == ["gguf, read back", "llama.cpp"]
    assert proofs[1].positions == 5
    if dtype == "f32":
        assert all(proof.new_tokens == 24 for proof in proofs)


@pytest.mark.slow
@needs_gguf
@needs_llama_cpp
def test_llama_cpp_cuts_hard_text_as_gpt2s_tokenizer_does(tmp_path: Path, shared: Path) -> None:
    tokenizer = Tokenizer.gpt2()
    write_run(tmp_path / "run", VARIANTS["gpt2"], tokenizer)
    path = tmp_path / "model.gguf"
    gguf.write(path, Run.open(tmp_path / "run"), "f16")
    reader = LlamaCppReader(path, tokenizer, 48)
    texts = [
        "a\u0300e\u0301 \u00a0\u2003x \u3000\u200b\ufeff",
        "\r\n\r\n \n\t\t  end   ",
        "I'M we'Ll 'sup '' 's",
        "12345 \u0663\u0664\u0665 \u00bd\u00b2 x\u2082",
        "<|endoftext|> is text",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
        "\ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22",
    ]
    book = next(iter(sorted((shared / "corpora" / "gutenberg").rglob("*.txt"))))
    texts.append(book.read_text(encoding="utf-8", errors="replace")[:50_000])
    for text in texts:
        assert reader.encode(text) == tokenizer.encode(text)
    reader.close()


def test_safetensors_export_holds_our_names_and_needs_nothing_else(make_run: MakeRun, tmp_path: Path) -> None:
    folder, model = make_run("no_bias")
    out = tmp_path / "plain"
    proofs = export_run(folder, out, format="safetensors")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.safetensors", "tokenizer.json"]
    stored = safetensors.torch.load_file(out / "model.safetensors")
    assert torch.equal(stored["blocks.1.mlp.up.weight"], model.blocks[1].mlp.up.weight)
    assert stored["token_embedding.weight"].shape[0] == model.config.vocab_size
    assert proofs[0].largest == 0


def spoil_weights(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Transpose a square matrix, which no check of shapes can see."""
    name = next(name for name in tensors if "1.attention.proj.weight" in name)
    return tensors | {name: tensors[name].t().contiguous()}


@pytest.mark.parametrize(
    ("format", "dtype", "variant"),
    [
        pytest.param("hf", "f32", "gpt2", marks=needs_transformers),
        pytest.param("hf", "bf16", "llama", marks=needs_transformers),
        pytest.param("gguf", "q8_0", "gpt2", marks=needs_gguf),
        pytest.param("gguf", "f16", "llama", marks=needs_gguf),
    ],
)
def test_an_export_that_computes_something_else_is_refused_and_leaves_nothing(
    format: str, dtype: str, variant: str, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = type(FAMILIES[variant])
    right = family.form

    def wrong(self: Family, config: GPTConfig, tensors: Tensors) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
        config, found = right(self, config, tensors)
        return config, spoil_weights(found)

    monkeypatch.setattr(family, "form", wrong)
    folder, _ = make_run(variant)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"was not written: .*log-probabilities differ"):
        export_run(folder, tmp_path / "out", format=format, dtype=dtype)
    assert sorted(tmp_path.iterdir()) == before


@needs_transformers
def test_another_tokenizer_in_the_export_is_refused(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Tokenizer.train(["something else entirely, so that other pairs are merged"] * 3, 330)
    monkeypatch.setattr(Tokenizer, "save", lambda self, path: path.write_text(other.vocabulary.to_json()))
    folder = tmp_path / "run_gpt2"
    monkeypatch.undo()
    make_run()
    monkeypatch.setattr(Tokenizer, "save", lambda self, path: path.write_text(other.vocabulary.to_json()))
    with pytest.raises(UserError, match="cuts text into other tokens"):
        export_run(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_transformers
def test_weights_that_overflow_in_fp16_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from gpt_research.checkpoint.files import Checkpoint
    from gpt_research.checkpoint.saver import save_checkpoint
    from gpt_research.checkpoint.weights import model_tensors

    model = write_run(tmp_path / "run", VARIANTS["gpt2"], tokenizer)
    with torch.no_grad():
        model.blocks[0].mlp.down.weight[0, 0] = 1e6
    state = {"tokenizer": tokenizer.fingerprint}
    save_checkpoint(tmp_path / "run", Checkpoint(8, model_tensors(model), {}, state), keep_last=1)
    with pytest.raises(UserError, match="nan"):
        export_run(tmp_path / "run", tmp_path / "out", dtype="f16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("format", "package"), [("hf", "transformers"), ("gguf", "gguf")])
def test_a_missing_extra_is_one_sentence(
    format: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(UserError, match=rf'needs {package}. Run: \S+ -m pip install .*\[export\]"'):
        export_run(Path("anything"), tmp_path / "out", format=format)


def test_a_taken_folder_is_left_as_it_is(make_run: MakeRun, tmp_path: Path) -> None:
    folder, _ = make_run()
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export_run(folder, out, format="safetensors")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    export_run(folder, out, format="safetensors")
    assert (out / "model.safetensors").is_file()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = make_run()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(exporting.FORMATS, "safetensors", replace(exporting.FORMATS["safetensors"], write=full))
    with pytest.raises(UserError, match=r"No space left on device.*Free some space"):
        export_run(folder, tmp_path / "out", format="safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name]


def test_settings_that_no_format_has_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dtype is 'q8_0', but it must be f32, f16 or bf16 for --format hf"):
        export_run(Path("r"), Path("o"), dtype="q8_0")
    with pytest.raises(
        UserError, match=r'format is "safetensor", but it must be one of hf, gguf, safetensors.*Did you'
    ):
        export_run(Path("r"), Path("o"), format="safetensor")
    with pytest.raises(UserError, match="--out DIR"):
        ExportCommand(run="r")
    folder, _ = make_run()
    with pytest.raises(UserError, match=r"Cannot read the text file .*nowhere\.txt"):
        export_run(folder, tmp_path / "o", format="safetensors", text_file="nowhere.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError, match="is empty"):
        export_run(folder, tmp_path / "o", format="safetensors", text_file=str(tmp_path / "empty.txt"))


@needs_gguf
def test_q8_0_needs_a_width_that_its_blocks_divide(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_run(tmp_path / "run", GPTConfig(n_layer=1, n_head=1, n_embd=48, block_size=32), tokenizer)
    with pytest.raises(UserError, match=r"packs 32 weights together, and model.n_embd is 48"):
        export_run(tmp_path / "run", tmp_path / "o", format="gguf", dtype="q8_0")


def test_the_model_card_tells_data_recipe_scores_and_licence(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = make_run()
    scores = {"step": 7, "val_loss": 3.25, "val_bits_per_byte": 1.125, "corpora": {}}
    later = scores | {"step": 8, "val_loss": 9.0}
    (folder / "metrics.jsonl").write_text(json.dumps(scores) + "\n" + json.dumps(later) + "\n")
    out = tmp_path / "out"
    assert run(ExportCommand(run=str(folder), out=str(out), format="safetensors", license="mit")) == 0
    card = (out / "README.md").read_text()
    for part in (
        f"{model.num_parameters():,} parameters",
        "step 7",
        "3.2500",
        "1.1250",
        "license: mit",
        "AdamW",
    ):
        assert part in card
    assert "9.0" not in card, "a score of a later step is not this checkpoint's"
    assert "no_data" in card, "a data set that is gone is named at least"
    assert str(tmp_path) not in card, "no path of this machine"
    assert "read back: log-probabilities within 0.0e+00 of their spread" in capsys.readouterr().out


def test_the_model_card_lists_the_corpora_of_the_data_set(
    make_run: MakeRun, tmp_path: Path, dataset_folder: Path
) -> None:
    from gpt_research.export.model_card import model_card

    source = Run.open(make_run()[0])
    source = replace(source, config=replace(source.config, data=str(dataset_folder)))
    card = model_card(source, "f32", "", [], usage="")
    assert "| plays |" in card
    assert "| tales |" in card
    assert "No licence was chosen" in card


@needs_transformers
@needs_gguf
@needs_llama_cpp
@pytest.mark.parametrize("format", ["hf", "gguf", "safetensors"])
@pytest.mark.parametrize("characters", ["\n ,.abdefghilmnoprstuvwyK\u0438\u0442", "\u767d\u9be8\u3068\u6d77"])
def test_a_vocabulary_of_characters_is_exported(format: str, characters: str, tmp_path: Path) -> None:
    """The passage of the proof has characters that it lacks, and the second has none of "a"."""
    tokenizer = Tokenizer.from_characters(characters)
    write_run(tmp_path / "run", VARIANTS["gpt2"], tokenizer)
    proofs = export_run(tmp_path / "run", tmp_path / "out", format=format)
    assert all(proof.new_tokens for proof in proofs)
    if format != "gguf":
        assert Tokenizer.load(tmp_path / "out" / "tokenizer.json").vocabulary == tokenizer.vocabulary
    else:
        assert gguf.read(next((tmp_path / "out").glob("*.gguf")))[1].vocabulary == tokenizer.vocabulary
    assert "single characters" in (tmp_path / "out" / "README.md").read_text()
