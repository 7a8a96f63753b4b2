"""Exports: a run is written for another program and kept only if both compute the same.

`FORMATS` maps the name of a format to how it is written, proved and described.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base import hints
from gpt_research.base.errors import UserError, look_up, require
from gpt_research.export import classifier, gguf, plain
from gpt_research.export import hf as huggingface
from gpt_research.export.model_card import model_card
from gpt_research.export.new_folder import new_folder
from gpt_research.export.proof import PASSAGE, Bound, Proof, Reader, prove_all
from gpt_research.run import Run

MAX_TEXT = 20_000
"""Characters that are read of a given text; the proof needs no more."""


@dataclass(frozen=True)
class Format:
    """A format of exports."""

    write: Callable[[Path, Run, str, str], Path]
    """Takes folder, run, type of weights and licence; writes the run and returns the file of
    weights."""
    readers: Callable[[Path, Run, str], Iterator[tuple[Reader, Bound]]]
    """Takes that file, run and type; yields programs that read it back, each with its bound."""
    usage: str
    """How to run the model, in Markdown; FILE and RUN stand for the names of file and run."""
    dtypes: tuple[str, ...] = ("f32", "f16", "bf16")
    """Types of weights that the format has."""
    needs: str = ""
    """Package of the extra `export` that writing or reading needs."""
    library: str = ""
    """The library that the hub loads the model with."""


FORMATS = {
    "hf": Format(
        huggingface.write, huggingface.readers, huggingface.USAGE, needs="transformers", library="transformers"
    ),
    "gguf": Format(gguf.write_into, gguf.readers, gguf.USAGE, tuple(gguf.FILE_TYPES), needs="gguf"),
    "safetensors": Format(plain.write, plain.readers, plain.USAGE),
}
"""`--format`, by name."""


def export_run(
    run: Path,
    out: Path,
    *,
    step: str = "newest",
    ema: bool | None = None,
    format: str = "hf",
    dtype: str = "f32",
    licence: str = "",
    text_file: str = "",
) -> list[Proof | classifier.ClassifierProof]:
    """Write an export of a run folder; keep it only if its readers agree with the run.

    Args:
        step: newest, best or a number, as `Run.open` takes it.
        ema: take the averaged weights; by default, if the checkpoint has them.
        format: an entry of `FORMATS`.
        dtype: f32, f16, bf16 or q8_0, as far as the format has it.
        licence: of the weights, for the model card; empty says that none was chosen.
        text_file: the text to compare on; empty takes a built-in passage.

    Raises:
        UserError: no such run or format, a missing extra, a taken folder, a model that the format
            cannot say, or an export that fails its proof. Nothing is left in the folder then.
    """
    chosen = look_up(FORMATS, format, "format")
    *others, last = chosen.dtypes
    known = f"{', '.join(others)} or {last}" if others else last
    require(dtype in chosen.dtypes, "dtype", dtype, f"{known} for --format {format}")
    if chosen.needs and importlib.util.find_spec(chosen.needs) is None:
        raise UserError(f"--format {format} needs {chosen.needs}. Run: {hints.install('export', chosen.needs)}")
    text = _read_text(text_file)
    source = Run.open(run, step=step, ema=ema)
    source.check_vocabulary()
    classifier.refuse_other_heads(source, format)
    for name in source.tokenizer.vocabulary.specials:
        # transformers reads the name of a special token in a text as that token; we read it as
        # text.
        text = text.replace(name, "")
    with new_folder(out) as folder:
        file = chosen.write(folder, source, dtype, licence)
        proofs: list[Proof | classifier.ClassifierProof]
        proofs = [*prove_all(source.model, source.tokenizer, chosen.readers(file, source, dtype), text)]
        usage = chosen.usage
        if source.task_head is not None:
            # The proof gave the memory of the model to its readers.
            again = Run.open(run, step=str(source.step), ema=ema)
            file = classifier.write_classifier(folder, again, dtype)
            proofs.append(classifier.prove_classifier(folder, again, dtype))
            usage = classifier.usage(again)
        card = model_card(source, dtype, licence, proofs, usage=usage, library=chosen.library, file=file.name)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return proofs


def _read_text(file: str) -> str:
    if not file:
        return PASSAGE
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.read(MAX_TEXT)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the text file {file}: {error}.") from None
