"""One .gguf file for llama.cpp: weights in f32, f16, bf16 or q8_0, and the tokenizer inside.

Only the matrices have the chosen type. Norms, biases and positions stay f32, which llama.cpp
requires. The file has the architecture of the model's family; its matrices are stored (out, in), as
ours are.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors, restore_model
from gpt_research.data.chat_format import TEMPLATE, has_chat_format
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.export.families.family import Family
from gpt_research.export.families.table import FAMILIES, require_family
from gpt_research.export.gguf_tokenizer import add_tokenizer, read_tokenizer
from gpt_research.export.proof import BOUNDS, CONTEXT, Bound, OurReader, Reader
from gpt_research.generation.llama_cpp import LlamaCppReader
from gpt_research.model.gpt import GPT
from gpt_research.model.parts.feed_forward import ff_width
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run

FILE_TYPES = {"f32": ("F32", "ALL_F32"), "f16": ("F16", "MOSTLY_F16")}
FILE_TYPES |= {"bf16": ("BF16", "MOSTLY_BF16"), "q8_0": ("Q8_0", "MOSTLY_Q8_0")}
Q8_0_BLOCK = 32

LLAMA_CPP_BOUND = Bound(5e-2, 1e-4)
"""llama.cpp looks GELU up in a table in fp16, whatever type the weights have."""

USAGE = """```sh
llama-completion -m FILE -p "Once upon a time" -n 50 -no-cnv
```"""


def write_into(folder: Path, run: Run, dtype: str, licence: str = "") -> Path:
    """Write one .gguf file into an existing folder and return it.

    Raises:
        UserError: as `write` does.
    """
    file = folder / f"{run.name}-{dtype}.gguf"
    write(file, run, dtype, licence)
    return file


def readers(file: Path, run: Run, dtype: str) -> Iterator[tuple[Reader, Bound]]:
    """Yield the programs that prove a file: our own, and llama.cpp if it is installed."""
    bound = BOUNDS[dtype]
    yield OurReader(*read(file), "gguf, read back"), bound
    if importlib.util.find_spec("xllamacpp") is not None:
        loosest = max(bound, LLAMA_CPP_BOUND, key=lambda b: b.largest)
        context = min(run.model.config.block_size, CONTEXT)
        with contextlib.closing(LlamaCppReader(file, run.tokenizer, context)) as reader:
            yield reader, loosest


def write(path: Path, run: Run, dtype: str, licence: str = "") -> None:
    """Write one .gguf file.

    Raises:
        UserError: llama.cpp has no family with the model's settings, or its tokenizer's split, or
            the blocks of q8_0 do not divide a width.
    """
    import gguf

    family = require_family(run.model.config, "llama.cpp")
    config, tensors = family.form(run.model.config, model_tensors(run.model, copy=False))
    if dtype == "q8_0" and (narrow := narrowest_for_q8_0(config)):
        raise UserError(f"q8_0 packs {Q8_0_BLOCK} weights together, and {narrow}. Use --dtype f16.")
    quantization, file_type = FILE_TYPES[dtype]
    writer = gguf.GGUFWriter(path, family.name)
    writer.add_name(run.name)
    if licence:
        writer.add_license(licence)
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(ff_width(config))
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    family.add_gguf_settings(writer, config)
    add_tokenizer(writer, run.tokenizer.vocabulary)
    if has_chat_format(run.lineage):
        writer.add_chat_template(TEMPLATE)
    for name, tensor in family.to_gguf(config, tensors).items():
        wanted = quantization if tensor.dim() == 2 and name != "position_embd.weight" else "F32"
        kind = gguf.GGMLQuantizationType[wanted]
        writer.add_tensor(name, gguf.quants.quantize(tensor.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> tuple[GPT, Tokenizer]:
    """Return model and tokenizer of a file that `write` wrote, with the weights as rounded."""
    import gguf

    reader = gguf.GGUFReader(path)
    values = {name: field.contents() for name, field in reader.fields.items()}
    kind = values["general.architecture"]
    family, stored = FAMILIES[kind], {tensor.name: tensor for tensor in reader.tensors}
    config = GPTConfig(
        n_layer=values[f"{kind}.block_count"],
        n_head=values[f"{kind}.attention.head_count"],
        n_embd=values[f"{kind}.embedding_length"],
        n_ff=values[f"{kind}.feed_forward_length"],
        block_size=values[f"{kind}.context_length"],
        vocab_size=len(values["tokenizer.ggml.tokens"]),
        tie_weights="output.weight" not in stored,
        bias=any(name.endswith(".bias") for name in stored),
        **family.read_gguf_settings(values),
    )
    model = GPT(config, drawn=False)
    restore_model(model, _StoredTensors(model, family, stored, str(path)), str(path))
    return model, read_tokenizer(values)


class _StoredTensors(Mapping[str, torch.Tensor]):
    """The tensors of a GGUF file by our names, in fp32; each is decoded when it is looked up,
    because a large model fits the memory only once.
    """

    def __init__(self, model: GPT, family: Family, stored: Mapping[str, Any], where: str) -> None:
        self._config, self._family, self._stored, self._where = model.config, family, stored, where
        self._names = {name: family.gguf_names.theirs(name) for name, _ in model.named_parameters()}
        self._newest: tuple[str, torch.Tensor] | None = None  # looked up for its shape, and then again

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> torch.Tensor:
        import gguf

        if self._newest is None or self._newest[0] != name:
            stored = [(part, self._stored[part]) for part in self._names[name]]
            with warnings.catch_warnings():  # torch warns that arrays of the file cannot be written to
                warnings.simplefilter("ignore")
                parts = {
                    part: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
                    for part, tensor in stored
                }
            self._newest = name, self._family.from_gguf(self._config, parts, self._where)[name]
        return self._newest[1]


def narrowest_for_q8_0(config: GPTConfig) -> str:
    """Return a clause that names a width which the blocks of q8_0 do not divide; empty if they
    divide all.
    """
    widths = {"model.n_embd": config.n_embd, "model.n_ff": ff_width(config)}
    widths["model.n_head times model.head_size"] = config.n_head * config.head_dim
    return next((f"{name} is {width}" for name, width in widths.items() if width % Q8_0_BLOCK), "")
