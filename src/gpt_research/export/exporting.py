"""`gpt-research export` and `gpt-research import`: runs out to other programs, their weights into runs."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.commands import ExportCommand
from gpt_research.data.vocabulary import END_OF_TEXT
from gpt_research.export import gguf, plain
from gpt_research.export import hf as huggingface
from gpt_research.export.model_card import model_card
from gpt_research.export.new_folder import new_folder
from gpt_research.export.proof import PASSAGE, Bound, OurReader, Proof, Reader, prove
from gpt_research.export.source import Source, load_source
from gpt_research.generation.llama_cpp import LlamaCppReader
from gpt_research.run import newest_run

BOUNDS = {
    "f32": Bound(1e-3, 1e-6),
    "f16": Bound(5e-2, 1e-4),
    "bf16": Bound(4e-1, 4e-3),
    "q8_0": Bound(1.0, 2e-2),
}
"""Six times or more what the rounding of a type costs (docs/export.md); a wrong tensor costs far more."""

LLAMA_CPP_BOUND = Bound(5e-2, 1e-4)
"""llama.cpp computes GELU from a table in fp16, whatever the weights are."""

MAX_TEXT = 20_000
"""Characters of a given text that are read; the proof needs no more."""


def export_run(command: ExportCommand) -> list[Proof]:
    """Write an export, read it back with other programs, and keep it only if it says what the run says.

    Raises:
        UserError: no such run, a missing extra, a taken folder, or an export that fails its proof (none is
        left).
    """
    _require_extras(command.format)
    text = _read_text(command.text)
    source = load_source(Path(command.run) if command.run else newest_run(Path("runs")))
    with new_folder(Path(command.out)) as folder:
        file = _write(folder, source, command)
        if command.format == "gguf":
            proofs = prove_gguf(folder / file, source, command.dtype, text)
        else:
            ours = OurReader(source.model, source.tokenizer)
            proofs = [prove(ours, _reader(folder, command.format), BOUNDS[command.dtype], text)]
        card = model_card(source, command.format, command.dtype, command.license, proofs, file)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return proofs


def _write(folder: Path, source: Source, command: ExportCommand) -> str:
    """Write weights and tokenizer; return the name of the file with the weights."""
    if command.format == "gguf":
        file = f"{source.name}-{command.dtype}.gguf"
        gguf.write(folder / file, source, command.dtype, command.license)
        return file
    write = huggingface.write if command.format == "hf" else plain.write
    write(folder, source, command.dtype)
    return "model.safetensors"


def _reader(folder: Path, format: str) -> Reader:
    if format == "hf":
        return huggingface.TransformersReader(folder)
    return OurReader(*plain.read_model(folder), "safetensors, read back")


def prove_gguf(path: Path, source: Source, dtype: str, text: str = PASSAGE) -> list[Proof]:
    """Check a .gguf file against the run: decoded here, and run by llama.cpp where that is installed.

    Raises:
        UserError: it does not say what the run says.
    """
    ours, bound = OurReader(source.model, source.tokenizer), BOUNDS[dtype]
    proofs = [prove(ours, OurReader(*gguf.read(path), "gguf, read back"), bound, text)]
    if importlib.util.find_spec("xllamacpp") is not None:
        loosest = max(bound, LLAMA_CPP_BOUND, key=lambda b: b.largest)
        reader = LlamaCppReader(path, source.tokenizer, source.model.config.block_size)
        with contextlib.closing(reader):
            proofs.append(prove(ours, reader, loosest, text))
    return proofs


def _require_extras(format: str) -> None:
    needed = {"hf": "transformers", "gguf": "gguf"}.get(format)
    if needed and importlib.util.find_spec(needed) is None:
        raise UserError(f'--format {format} needs {needed}. Run: pip install "gpt-research[export]"')


def _read_text(file: str) -> str:
    if not file:
        return PASSAGE
    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read(MAX_TEXT)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the text file {file}: {error}.") from None
    # transformers reads the name of a special token in a text as the token itself; for us text is only text.
    return text.replace(END_OF_TEXT, "")
